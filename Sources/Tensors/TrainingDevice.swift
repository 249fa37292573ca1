public import Platform

/// What training needs of a device beyond inference: the same coarse operations with what their backward needs, and the backwards.
///
/// Weights are the plain float32 master weights of a parameter, because they change every step; a device packs what it wants for the
/// length of one call. Gradients with respect to parameters are **added** to what the gradient tensor holds, so that batches
/// accumulate and shared weights sum; gradients with respect to activations are written, or added where the name says so. All tensors are
/// float32 unless a method says otherwise. With `Precision.bfloat16` the factors of every product are rounded to bfloat16 and
/// accumulated in float32. Sums are split by shape alone, so a result does not depend on the number of threads.
/// Shapes are the callers' duty, as in `Device`.
public protocol TrainingDevice: DistillationDevice {
  // MARK: products

  /// output [rows, outputs] = input [rows, inputs] · weight [outputs, inputs]ᵀ + bias. Throws: `.outOfMemory`.
  func linear(_ input: Tensor, weight: Tensor, bias: Tensor?, precision: Precision, into output: Tensor) throws(MedDINOError)

  /// Of `linear`. `gradient` [rows, outputs]; what is nil in `into` is not computed, and without a weight gradient the input is not read.
  func linearBackward(
    _ gradient: Tensor, input: Tensor, weight: Tensor, precision: Precision, into result: LinearGradients
  ) throws(MedDINOError)

  // MARK: element-wise and rows

  /// Exact GELU; the output may be the input.
  func gelu(_ input: Tensor, into output: Tensor)
  /// output = gradient · gelu'(input); the output may be the gradient.
  func geluBackward(_ input: Tensor, gradient: Tensor, into output: Tensor)
  /// Of `swiGLU`: gateGradient and upGradient from the gradient of silu(gate) · up; gateGradient may be the gradient.
  func swiGLUBackward(gate: Tensor, up: Tensor, gradient: Tensor, gateGradient: Tensor, upGradient: Tensor)
  /// Of `layerNorm`: statistics are computed again from the input. `inputGradient` is added to; nil is not computed.
  func layerNormBackward(
    _ input: Tensor, weight: Tensor, epsilon: Float, gradient: Tensor, addingTo inputGradient: Tensor?, weightGradient: Tensor?,
    biasGradient: Tensor?) throws(MedDINOError)
  /// Of `rmsNorm`.
  func rmsNormBackward(
    _ input: Tensor, weight: Tensor, epsilon: Float, gradient: Tensor, addingTo inputGradient: Tensor?, weightGradient: Tensor?
  ) throws(MedDINOError)

  /// stream[indices[i]] += scale · gamma · branch[i]; gamma nil means 1, indices nil every image in order.
  /// Shapes: stream [images, tokens, dim], branch [kept, tokens, dim]. The branch stays as it is.
  func addResidual(_ branch: Tensor, indices: [Int]?, scale: Float, gamma: Tensor?, to stream: Tensor)
  /// Of `addResidual`: branchGradient = scale · gamma · gradient[indices]; gammaGradient += the sum over rows of scale · gradient · branch.
  /// Without a gamma gradient the branch is not read.
  func addResidualBackward(
    _ gradient: Tensor, branch: Tensor, indices: [Int]?, scale: Float, gamma: Tensor?, branchGradient: Tensor, gammaGradient: Tensor?
  ) throws(MedDINOError)
  /// Of `gatherImages`: target[indices[i]] += gradient[i]. The indices are distinct.
  func scatterAddImages(_ gradient: Tensor, _ indices: [Int], to target: Tensor)
  /// Of `gatherPatches`: pixels of the images += those of the patches; dropped pixels stay as they are.
  func scatterAddPatches(_ gradient: Tensor, size: Int, to images: Tensor)

  // MARK: attention and tokens

  /// `Device.attention` that also keeps the logarithm of every softmax sum. Shapes: logSumExp [batch, heads, tokens].
  func attention(
    _ qkv: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?, precision: Precision, into output: Tensor, logSumExp: Tensor,
    workspace: Workspace, control: RunControl
  ) throws(MedDINOError)
  /// The gradient of qkv [batch, tokens, 3 · dim] from that of the output [batch, tokens, dim]; never an N × N map. With a rope table that
  /// rounds to bfloat16, the gradients of q and k are rounded where the forward rounds (model specification 1.3).
  func attentionBackward(
    _ gradient: Tensor, qkv: Tensor, output: Tensor, logSumExp: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?,
    precision: Precision, into qkvGradient: Tensor, workspace: Workspace, control: RunControl
  ) throws(MedDINOError)

  /// Of `assembleTokens`: gradient [batch, prefix + patches, dim]. prefixGradient [prefix, dim] and maskTokenGradient [dim] are added to;
  /// patchGradient [batch · patches, dim] is written, zero where the patch was masked.
  func assembleTokensBackward(
    _ gradient: Tensor, mask: Tensor?, prefixGradient: Tensor?, maskTokenGradient: Tensor?, patchGradient: Tensor?)

  // MARK: decoder and loss

  /// `Device.decode` with plain weights; taps as there. kept: for none, some or all of the first stages the convolution's output before
  /// the norm, [batch · patches, 4^(stage + 1) · outputs] in the device's order of pixels, written for `decodeBackward`.
  func decode(
    _ taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, weights: DecoderWeights, precision: Precision, into logits: Tensor,
    keeping kept: [Tensor], workspace: Workspace, control: RunControl
  ) throws(MedDINOError)
  /// Of `decode`: stages of which nothing was kept are computed again, group by group of tokens. tapGradients [batch, prefix + patches, dim] are written (zero for
  /// the prefix), nil where no tap needs one; `gradients` has the shapes of the weights and is added to.
  func decodeBackward(
    _ logitsGradient: Tensor, taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, weights: DecoderWeights, precision: Precision,
    kept: [Tensor], tapGradients: [Tensor]?, gradients: DecoderWeights?, workspace: Workspace, control: RunControl
  ) throws(MedDINOError)

  /// Dice + cross entropy (or Dice + binary cross entropy) of logits [batch, heads, H, W] and, when `gradient` is given, its gradient with
  /// respect to the logits, multiplied by `scale`. targets int16: [batch, 1, H, W] label values, or [batch, channels, H, W] of 0 and 1.
  ///
  /// `ranks`: the batch is that of all ranks together, each giving its own images; the loss is that of the whole batch on every rank, and
  /// the gradient that of this rank's logits. Source: pipeline specification 8.
  func segmentationLoss(
    _ logits: Tensor, targets: Tensor, _ options: SegmentationLossOptions, scale: Float, gradient: Tensor?, ranks: any Communicator
  ) throws(MedDINOError) -> SegmentationLoss

  // MARK: parameters

  func fill(_ tensor: Tensor, _ value: Float)
  /// target += factor · source.
  func add(_ source: Tensor, factor: Float, to target: Tensor)
  func scale(_ tensor: Tensor, _ factor: Float)
  /// Σ x², in double precision in an order that depends on the count alone.
  func sumOfSquares(_ tensor: Tensor) -> Double
  /// target = momentum · target + (1 − momentum) · source: the exponential moving average.
  func interpolate(_ source: Tensor, momentum: Float, into target: Tensor)
  /// One AdamW update in place. Source: model specification 4.2.
  func adamW(_ parameter: Tensor, gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor, _ update: AdamWUpdate)
}

extension TrainingDevice {
  /// The same for the images of this process alone.
  public func segmentationLoss(
    _ logits: Tensor, targets: Tensor, _ options: SegmentationLossOptions, scale: Float, gradient: Tensor?
  ) throws(MedDINOError) -> SegmentationLoss {
    try segmentationLoss(logits, targets: targets, options, scale: scale, gradient: gradient, ranks: SoloCommunicator())
  }
}

/// Where a linear layer's gradients go.
public struct LinearGradients {
  /// [rows, inputs]: written, or added to when `addsToInput`.
  public var input: Tensor?
  public var addsToInput: Bool
  /// [outputs, inputs]: added to, or written unless `addsToWeight`.
  public var weight: Tensor?
  public var addsToWeight: Bool
  /// [outputs]: added to.
  public var bias: Tensor?
  public init(
    input: Tensor? = nil, addsToInput: Bool = false, weight: Tensor? = nil, addsToWeight: Bool = true, bias: Tensor? = nil
  ) {
    self.input = input
    self.addsToInput = addsToInput
    self.weight = weight
    self.addsToWeight = addsToWeight
    self.bias = bias
  }
}

/// The decoder's plain parameters (or their gradients), in the shapes of the state dict. Source: model specification 3.1.
public struct DecoderWeights: Sendable {
  public struct Stage: Sendable {
    /// [inputs, outputs, 2, 2] and [outputs]; norm weight and bias [outputs].
    public let weight, bias, normWeight, normBias: Tensor
    public init(weight: Tensor, bias: Tensor, normWeight: Tensor, normBias: Tensor) {
      self.weight = weight
      self.bias = bias
      self.normWeight = normWeight
      self.normBias = normBias
    }
  }
  public let stages: [Stage]
  /// [classes, inputs, 1, 1] and [classes].
  public let headWeight, headBias: Tensor
  public init(stages: [Stage], headWeight: Tensor, headBias: Tensor) {
    self.stages = stages
    self.headWeight = headWeight
    self.headBias = headBias
  }
}

/// Which form of the loss. Source: pipeline specification 8.
public struct SegmentationLossOptions: Equatable, Sendable {
  /// Softmax over labels, or one sigmoid per region.
  public var regions = false
  /// Dice sums run over the batch, or per image.
  public var batchDice = true
  /// Labels: the value that is left out. Regions: the last target channel marks the pixels that are left out.
  public var ignoreLabel: Int?
  public init() {}
}

public struct SegmentationLoss: Equatable, Sendable {
  /// crossEntropy + dice.
  public var total: Double
  public var crossEntropy: Double
  /// Negative: minus the mean soft Dice.
  public var dice: Double
  public init(total: Double, crossEntropy: Double, dice: Double) {
    self.total = total
    self.crossEntropy = crossEntropy
    self.dice = dice
  }
}

public struct AdamWUpdate: Equatable, Sendable {
  public var learningRate, beta1, beta2, epsilon, weightDecay: Double
  /// From 1; the exponent of the bias corrections.
  public var step: Int
  /// Every gradient is multiplied by it first: clipping, and the mean over accumulated batches.
  public var gradientScale: Double
  public init(
    learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double, step: Int, gradientScale: Double = 1
  ) {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.step = step
    self.gradientScale = gradientScale
  }
}
