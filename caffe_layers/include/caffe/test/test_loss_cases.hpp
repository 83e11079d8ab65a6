#ifndef CAFFE_TEST_LOSS_CASES_HPP_
#define CAFFE_TEST_LOSS_CASES_HPP_

namespace caffe {

// Every loss without random numbers, with the options that select different
// computations. Tests of common properties run over all of these.
struct LossCase {
  const char* text;
  bool softmax, mask;
};

const LossCase kLossCases[] = {
  {"type: 'SigmoidTopKCELoss' randrop_topk_param { negatives_per_positive: 1 }",
   false, true},
  {"type: 'SigmoidTopKCELoss' randrop_topk_param { selection: BIN "
   "negatives_per_positive: 1 positive_weight: 2 balance: BATCH }",
   false, true},
  {"type: 'SigmoidTopKCELoss' randrop_topk_param { selection: PERCENT "
   "k_percent: 40 }", false, true},
  {"type: 'SoftmaxTopKLoss' randrop_topk_param { k_percent: 40 }", true, true},
  {"type: 'SigmoidFocalCELoss'", false, false},
  {"type: 'SigmoidFocalCELoss' randrop_focal_param { gamma: 0.5 "
   "alpha_mode: PER_CHANNEL }", false, false},
  {"type: 'SoftmaxFocalCELoss' randrop_focal_param { gamma: 1.5 }", true,
   false},
  {"type: 'SoftDiceLoss'", true, false},
  {"type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID "
   "squared: false batch: true }", false, false},
  {"type: 'SoftDiceLoss' randrop_dice_param { weight_cross: 0.5 }", true,
   false},
  {"type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID "
   "weight_cross: 2 }", false, false},
  {"type: 'TopKDiceLoss'", true, true},
  {"type: 'TopKDiceLoss' randrop_dice_param { activation: SIGMOID "
   "region: FOREGROUND k_percent: 60 }", false, true},
  {"type: 'ExpLogLoss'", true, false},
  {"type: 'TverskyLoss'", true, false},
  {"type: 'TverskyLoss' randrop_tversky_param { activation: SIGMOID "
   "gamma: 0.75 alpha: 0.2 batch: true }", false, false},
};

// Losses that weigh pixels by their error: the gradient takes the weights as
// constants, so that differences of the loss do not show it.
const LossCase kModulatedCases[] = {
  {"type: 'SoftDiceLoss' randrop_dice_param { gamma: 2 }", true, false},
  {"type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID gamma: 0.5 "
   "squared: false }", false, false},
};

// Losses over the cells that a third bottom gives.
const LossCase kCellCases[] = {
  {"type: 'SoftDiceLoss' randrop_dice_param { weight_cross: 1 }", true, false},
  {"type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID "
   "weight_cross: 1 squared: false }", false, false},
  {"type: 'SoftDiceLoss' randrop_dice_param { batch: true "
   "include_background: true }", true, false},
  {"type: 'SoftDiceLoss' randrop_dice_param { activation: SIGMOID "
   "smooth: 0.01 batch: true }", false, false},
  {"type: 'TverskyLoss' randrop_tversky_param { gamma: 0.75 }", true, false},
  {"type: 'TverskyLoss' randrop_tversky_param { activation: SIGMOID }", false,
   false},
};

// The layers that OverlapLossLayer is the base of, and their messages.
struct OverlapCase {
  const char* type;
  const char* options;
};

const OverlapCase kOverlapCases[] = {
  {"SoftDiceLoss", "randrop_dice_param"},
  {"TopKDiceLoss", "randrop_dice_param"},
  {"TverskyLoss", "randrop_tversky_param"},
};

}  // namespace caffe

#endif  // CAFFE_TEST_LOSS_CASES_HPP_
