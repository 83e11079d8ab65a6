"""What scripts/bundle.py packs: libraries, Python, Caffe, launchers and licences."""
