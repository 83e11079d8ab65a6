"""Fetching, patching and building Caffe; standard library only.

These tools run before anything is installed.
"""
