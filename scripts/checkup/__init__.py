"""What scripts/doctor.py looks at: machine, build folder and Caffe tree."""
