"""The hook in Caffe's layer factory that creates the layers of the CPU engine.

The engine's other changes to Caffe's own files are patches, in caffe_patches/. This one
stays an expression because many forks add an include or a comment right next to these
lines, where a patch requires its context to match. The tool applies it together with
the patches, or not at all.
"""

from caffe_tools.mends import Mend

HOOKS = (
    Mend(
        "cpu-engine-factory",
        "the factory creates oneDNN's layers on the CPU",
        "include/caffe/layer_factory.hpp",
        (
            (
                r'^#include "caffe/proto/caffe\.pb\.h"\n',
                r'\g<0>#include "caffe/randrop/engine/cpu_engine.hpp"' "\n",
            ),
            (
                r"^    return registry\[type\]\(param\);\n",
                "    if (Layer<Dtype>* layer =\n"
                "        randrop::NewCpuEngineLayer<Dtype>(param)) {\n"
                "      return shared_ptr<Layer<Dtype> >(layer);\n"
                "    }\n"
                r"\g<0>",
            ),
        ),
    ),
)
