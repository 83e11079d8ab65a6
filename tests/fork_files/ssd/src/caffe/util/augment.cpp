#ifdef USE_OPENCV
#include <opencv2/highgui/highgui_c.h>

#include <boost/regex.hpp>
#include <string>
#include <vector>

#include "caffe/util/augment.hpp"

namespace caffe {

cv::Mat ReadDeep(const std::string& file, int flags) {
  const char* name = "CV_LOAD_IMAGE_COLOR is in a string // CV_FILLED";
  return cv::imread(boost::regex_match(file, boost::regex(name)) ? "" : file,
      flags | CV_LOAD_IMAGE_COLOR);
}

cv::Mat Distort(const cv::Mat& image, float saturation, float hue) {
  cv::Mat hsv, out, gray;
  cv::cvtColor(image, hsv, CV_BGR2HSV);
  std::vector<cv::Mat> parts;
  cv::split(hsv, parts);
  parts[0] += cv::Scalar(hue);
  parts[1] *= saturation;
  cv::merge(parts, hsv);
  cv::cvtColor(hsv, out, CV_HSV2BGR);
  cv::cvtColor(out, out, CV_BGR2YCrCb);
  cv::cvtColor(out, out, CV_YCrCb2BGR);
  cv::cvtColor(out, out, CV_BGR2Lab);
  cv::cvtColor(out, out, CV_Lab2BGR);
  cv::cvtColor(out, gray, CV_BGR2GRAY);
  cv::cvtColor(gray, out, CV_GRAY2BGR);
  return out;
}

cv::Mat Edges(const cv::Mat& image, bool invert) {
  cv::Mat gray, out;
  cv::cvtColor(image, gray, CV_RGB2GRAY);
  cv::threshold(gray, out, 0, 255,
      (invert ? CV_THRESH_BINARY_INV : CV_THRESH_BINARY) | CV_THRESH_OTSU);
  cv::resize(out, out, cv::Size(), 2, 2, CV_INTER_AREA);
  cv::Mat shape = cv::getStructuringElement(CV_SHAPE_RECT, cv::Size(3, 3));
  cv::morphologyEx(out, out, CV_MOP_OPEN, shape);
  std::vector<std::vector<cv::Point> > contours;
  cv::findContours(out, contours, CV_RETR_EXTERNAL, CV_CHAIN_APPROX_SIMPLE);
  cv::normalize(out, out, 0, 255, CV_MINMAX);
  return out;
}

void DrawBox(cv::Mat* image, const cv::Rect& box, const std::string& words) {
  // CV_FILLED fills; CV_AA is smooth.
  cv::rectangle(*image, box, CV_RGB(255, 0, 0), CV_FILLED);
  cv::rectangle(*image, box, cv::Scalar(0, 0, 255), 2, CV_AA);
  cv::putText(*image, words, box.tl(), CV_FONT_HERSHEY_SIMPLEX, 1,
      cv::Scalar::all(CV_PI), 1, 8);
}

std::vector<unsigned char> Encoded(const cv::Mat& image, int quality) {
  std::vector<int> how;
  how.push_back(CV_IMWRITE_JPEG_QUALITY);
  how.push_back(quality);
  std::vector<unsigned char> out;
  cv::imencode(".jpg", image, out, how);
  return out;
}

int WriteVideo(const std::string& in, const std::string& out) {
  cv::VideoCapture video(in);
  const int frames = static_cast<int>(video.get(CV_CAP_PROP_FRAME_COUNT));
  video.set(CV_CAP_PROP_POS_FRAMES, 1);
  cv::VideoWriter writer(out, CV_FOURCC('M', 'J', 'P', 'G'),
      video.get(CV_CAP_PROP_FPS),
      cv::Size(static_cast<int>(video.get(CV_CAP_PROP_FRAME_WIDTH)),
          static_cast<int>(video.get(CV_CAP_PROP_FRAME_HEIGHT))));
  cv::Mat frame;
  while (video.read(frame)) {
    writer << frame;
  }
  return frames;
}

}  // namespace caffe
#endif  // USE_OPENCV
