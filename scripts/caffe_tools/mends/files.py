"""Mends of single files of Caffe."""

from caffe_tools.mends.mend import Mend

FILE_MENDS = (
    *(
        Mend("numpy-2", why, "python/caffe/io.py", (change,))
        for why, change in (
            ("NumPy 2 has no tostring", (r"\barr\.tostring\(\)", "arr.tobytes()")),
            (
                "NumPy 2 has no binary fromstring",
                (
                    r"np\.fromstring\((datum\.data, dtype=np\.uint8)\)\.reshape",
                    r"np.frombuffer(\1).copy().reshape",
                ),
            ),
            ("scikit-image has no as_grey", (r"\bas_grey=", "as_gray=")),
        )
    ),
    Mend(
        "without-hdf5",
        "net.cpp calls the HDF5 library even in a build without it",
        "src/caffe/net.cpp",
        (
            (
                r"^[ \t]*if \(H5Fis_hdf5\(trained_filename\.c_str\(\)\)\) \{\n"
                r"[ \t]*CopyTrainedLayersFromHDF5\(trained_filename\);\n"
                r"[ \t]*\} else \{\n"
                r"[ \t]*CopyTrainedLayersFromBinaryProto\(trained_filename\);\n"
                r"[ \t]*\}\n",
                "#ifdef USE_HDF5\n"
                "  if (H5Fis_hdf5(trained_filename.c_str())) {\n"
                "    CopyTrainedLayersFromHDF5(trained_filename);\n"
                "    return;\n"
                "  }\n"
                "#endif  // USE_HDF5\n"
                "  CopyTrainedLayersFromBinaryProto(trained_filename);\n",
            ),
        ),
    ),
)
