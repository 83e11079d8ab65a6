#ifndef CAFFE_RANDROP_ENGINE_CPU_ENGINE_HPP_
#define CAFFE_RANDROP_ENGINE_CPU_ENGINE_HPP_

namespace caffe {

template <typename Dtype>
class Layer;
class LayerParameter;

namespace randrop {

/**
 * @brief A layer through oneDNN, for the layer factory; NULL where Caffe's own
 *        is to do it.
 *
 * That is so without oneDNN (USE_ONEDNN), in GPU mode, for numbers in double
 * and types of layers that we have none for, and where a prototxt or the
 * environment asks for Caffe's: engine: CAFFE in convolution_param,
 * pooling_param, relu_param, softmax_param or, for any layer,
 * randrop_engine_param, or RANDROP_ENGINE=CAFFE.
 */
template <typename Dtype>
Layer<Dtype>* NewCpuEngineLayer(const LayerParameter& param);
template <>
Layer<float>* NewCpuEngineLayer<float>(const LayerParameter& param);
template <>
Layer<double>* NewCpuEngineLayer<double>(const LayerParameter& param);

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_ENGINE_CPU_ENGINE_HPP_
