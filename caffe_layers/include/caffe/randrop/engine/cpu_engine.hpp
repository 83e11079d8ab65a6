#ifndef CAFFE_RANDROP_ENGINE_CPU_ENGINE_HPP_
#define CAFFE_RANDROP_ENGINE_CPU_ENGINE_HPP_

namespace caffe {

template <typename Dtype>
class Layer;
class LayerParameter;

namespace randrop {

/**
 * @brief Creates a oneDNN layer for the layer factory; NULL where Caffe's own
 *        layer is to be used.
 *
 * It returns NULL without oneDNN (USE_ONEDNN), in GPU mode, for double, for
 * layer types that we do not implement, and where the prototxt or the
 * environment asks for Caffe's layer: engine: CAFFE in convolution_param,
 * pooling_param, relu_param, softmax_param or, for any layer,
 * randrop_engine_param, or RANDROP_ENGINE=CAFFE.
 */
template <typename Dtype>
Layer<Dtype>* NewCpuEngineLayer(const LayerParameter& param);
template <>
Layer<float>* NewCpuEngineLayer<float>(const LayerParameter& param);
template <>
Layer<double>* NewCpuEngineLayer<double>(const LayerParameter& param);

#ifdef USE_ONEDNN
/// @brief Whether RANDROP_ENGINE asks for convolutions in bfloat16.
bool Bfloat16Wanted();
#endif  // USE_ONEDNN

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_ENGINE_CPU_ENGINE_HPP_
