#ifndef CAFFE_RANDROP_LOOPS_CROWDING_HPP_
#define CAFFE_RANDROP_LOOPS_CROWDING_HPP_

#include <algorithm>

namespace caffe {
namespace randrop {

/**
 * @brief Tells when other programs keep the processors busy, so that a loop is
 *        faster without helpers.
 *
 * The scheduler then interrupts threads: a helper in the middle of a task, whom
 * the caller must wait for, until the other program has had its turn, which is
 * longer than many a loop takes. The evidence is how often the loops' threads
 * were interrupted. Loops run without helpers for a while after such times; for
 * longer if it is no better afterwards, and on as long as the caller, alone, is
 * interrupted as often.
 */
class Crowding {
 public:
  Crowding() : until_(0), pause_(0), alone_(false), seconds_(0),
      interruptions_(0) {}

  /// @brief Whether a loop that begins now (in seconds) should have no helpers.
  bool IsCrowded(double now) const { return now < until_; }

  /// @brief Adds a loop: how long it took, and how often its threads were
  ///        interrupted.
  void Add(double begin, double end, int interruptions) {
    const bool alone = IsCrowded(begin);
    if (alone != alone_) {
      alone_ = alone;
      StartWindow();
    }
    seconds_ += end - begin;
    interruptions_ += interruptions;
    if (seconds_ < Window()) {
      return;
    }
    const bool often = interruptions_ >= Often() * (seconds_ / Window());
    if (!alone) {
      pause_ = !often ? 0 :
          std::min(Longest(), std::max(Shortest(), 2 * pause_));
    }
    if (often) {
      until_ = end + pause_;
    }
    StartWindow();
  }

 private:
  void StartWindow() {
    seconds_ = 0;
    interruptions_ = 0;
  }

  // Seconds of loops that are judged together, and interruptions in them.
  static double Window() { return 0.05; }
  static int Often() { return 2; }
  // Seconds without helpers.
  static double Shortest() { return 0.2; }
  static double Longest() { return 5; }

  double until_, pause_;
  bool alone_;  // whether the loops of this window had no helpers
  double seconds_;
  int interruptions_;
};

}  // namespace randrop
}  // namespace caffe

#endif  // CAFFE_RANDROP_LOOPS_CROWDING_HPP_
