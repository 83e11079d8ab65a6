#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <unistd.h>

#include "caffe/common.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {
namespace io = google::protobuf::io;

bool DeserializeFromFile(NetParameter* net, const char* path, int limit) {
  const int file = open(path, O_RDONLY);
  io::FileInputStream input(file);
  io::CodedInputStream coded(&input);
  coded.SetTotalBytesLimit(limit > 0 ? limit : 1 << 30,
                           (limit > 0 ? limit : 1 << 30) / 2);
  return net->ParseFromCodedStream(&coded) && close(file) == 0;
}

bool DeserializeFromMemory(NetParameter* net, const void* data, int size) {
  io::CodedInputStream* coded =
      new io::CodedInputStream(static_cast<const uint8_t*>(data), size);
  if (size > 0) coded->SetTotalBytesLimit(std::max(size, 1024), -1);
  const bool read = net->ParseFromCodedStream(coded);
  delete coded;
  return read;
}

}  // namespace caffe
