#ifndef CAFFE_UTIL_AUGMENT_HPP_
#define CAFFE_UTIL_AUGMENT_HPP_

#ifdef USE_OPENCV
#include <opencv2/core/core.hpp>
#include <opencv2/highgui/highgui.hpp>
#include <opencv2/imgproc/imgproc.hpp>
#if CV_VERSION_MAJOR == 3
#include <opencv2/imgcodecs/imgcodecs.hpp>
#endif

#include <string>

namespace caffe {

// Read as CV_LOAD_IMAGE_ANYDEPTH.
cv::Mat ReadDeep(const std::string& file, int flags = CV_LOAD_IMAGE_ANYDEPTH);

cv::Mat Distort(const cv::Mat& image, float saturation, float hue);

cv::Mat Edges(const cv::Mat& image, bool invert);

void DrawBox(cv::Mat* image, const cv::Rect& box, const std::string& words);

std::vector<unsigned char> Encoded(const cv::Mat& image, int quality);

int WriteVideo(const std::string& in, const std::string& out);

}  // namespace caffe
#endif  // USE_OPENCV

#endif  // CAFFE_UTIL_AUGMENT_HPP_
