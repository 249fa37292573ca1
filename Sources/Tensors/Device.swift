public import Platform

/// Arithmetic of a network: plain float32, or bfloat16 products with float32 accumulation.
public enum Precision: String, Sendable {
  case float32, bfloat16

  /// The words that people have for them: "f32", "fp32", "float32", "bf16", "bfloat16"; nil for others.
  public init?(named text: String) {
    switch text {
    case "f32", "fp32", "float32": self = .float32
    case "bf16", "bfloat16": self = .bfloat16
    default: return nil
    }
  }
}

/// A linear layer's weight in the layout that a device multiplies by, made once at load. Opaque above `Device`.
public protocol PackedLinear: AnyObject, Sendable {
  /// Output and input features: the weight is [outputs, inputs].
  var outputs: Int { get }
  var inputs: Int { get }
  var byteCount: Int { get }
}

/// What follows the product of a linear layer, in the same pass over the output.
public enum LinearEpilogue: Sendable {
  case none
  /// Exact GELU, 0.5 x (1 + erf(x / sqrt 2)).
  case gelu
  /// `output = output + gamma * (product + bias)`: the layer-scaled residual; gamma nil means 1.
  case residual(gamma: Tensor?)
}

/// Rotation tables of the rotary position embedding.
/// Shapes: sine and cosine [patches, headDim]; tokens before the patches are not rotated.
public struct RopeTable: Sendable {
  public let sine: Tensor
  public let cosine: Tensor
  /// q and k of all tokens, and every product and sum of the rotation, are rounded to bfloat16.
  public let roundsToBFloat16: Bool
  public init(sine: Tensor, cosine: Tensor, roundsToBFloat16: Bool) {
    self.sine = sine
    self.cosine = cosine
    self.roundsToBFloat16 = roundsToBFloat16
  }
}

/// The one seam between the networks and memory: coarse operations on tensors the device owns, opaque packed weights.
///
/// A second device implements this protocol and nothing above it changes. Shapes are checked by the callers (networks are
/// validated when they are built), so violations are programming errors.
public protocol Device: AnyObject, Sendable {
  var budget: MemoryBudget { get }
  /// Name of the arithmetic in use, such as "avx512-bf16".
  var name: String { get }
  /// True when `Precision.bfloat16` runs on instructions made for it.
  var hasFastBFloat16: Bool { get }

  /// weight [outputs, inputs] and bias [outputs] float32. Throws: `.outOfMemory`.
  func pack(weight: Tensor, bias: Tensor?, precision: Precision) throws(MedDINOError) -> any PackedLinear

  /// output [rows, outputs] = epilogue(input [rows, inputs] · weightᵀ + bias). Input and output float32 or bfloat16.
  func linear(_ input: Tensor, _ layer: any PackedLinear, into output: Tensor, _ epilogue: LinearEpilogue) throws(MedDINOError)

  /// LayerNorm over the last axis (biased variance). Output float32 or bfloat16; may be the input. bias nil: none.
  func layerNorm(_ input: Tensor, weight: Tensor, bias: Tensor?, epsilon: Float, into output: Tensor)
  /// x * rsqrt(mean(x²) + epsilon) * weight over the last axis.
  func rmsNorm(_ input: Tensor, weight: Tensor, epsilon: Float, into output: Tensor)

  /// output = silu(gate) * up, element-wise; the output may be the gate.
  func swiGLU(gate: Tensor, up: Tensor, into output: Tensor)

  /// Self-attention of each image: qkv [batch, tokens, 3 * heads * headDim] → output [batch, tokens, heads * headDim].
  /// Never materialises a tokens × tokens map. Throws: `.outOfMemory`, `.cancelled`.
  func attention(
    _ qkv: Tensor, heads: Int, prefixTokens: Int, rope: RopeTable?, precision: Precision, into output: Tensor,
    workspace: Workspace, control: RunControl
  ) throws(MedDINOError)

  /// Cuts images [batch, channels, H, W] into patches [batch * rows * columns, channels * size * size], surplus pixels dropped.
  func gatherPatches(_ images: Tensor, size: Int, into patches: Tensor)

  /// tokens [batch, prefix + patches, dim] from patch embeddings [batch * patches, dim] and the prefix [prefix, dim];
  /// where `mask` [batch, patches] (uint8) is set, the patch is replaced by `maskToken` [dim].
  func assembleTokens(prefix: Tensor, patches: Tensor, mask: Tensor?, maskToken: Tensor, into tokens: Tensor)

  /// Gathers images (rows of the outermost axis) by index: output[i] = input[indices[i]].
  func gatherImages(_ input: Tensor, _ indices: [Int], into output: Tensor)
  /// output[indices[i]] += scale * gamma * branch[i]: the residual of stochastic depth. Shapes: [images, tokens, dim].
  func scatterResidual(_ branch: Tensor, _ indices: [Int], scale: Float, gamma: Tensor?, onto output: Tensor)

  /// The whole Primus decoder: normalised taps, each [batch, prefix + patches, dim], to planar logits
  /// [batch, classes, rows * patch, columns * patch]. Never builds a full-resolution feature map.
  /// `progress`: the part of the control's current stage that this fills, reported by groups of tokens. Throws: `.outOfMemory`, `.cancelled`.
  func decode(
    _ taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, _ decoder: PackedDecoder, into logits: Tensor,
    workspace: Workspace, control: RunControl, progress: ClosedRange<Double>
  ) throws(MedDINOError)
}

/// The decoder's weights as the device multiplies by them. Source: model specification 3.1.
public struct PackedDecoder: Sendable {
  /// One 2×2, stride 2 transposed convolution, LayerNorm over channels, GELU.
  public struct Stage: Sendable {
    /// Per tap (the first stage) or one: [4 * outputs, inputs], rows ordered (ky, kx, output); together they sum to the convolution.
    public let layers: [any PackedLinear]
    /// The convolution's bias repeated for the four positions: [4 * outputs].
    public let bias: Tensor
    public let normWeight: Tensor
    public let normBias: Tensor
    public let outputs: Int
    public init(layers: [any PackedLinear], bias: Tensor, normWeight: Tensor, normBias: Tensor, outputs: Int) {
      self.layers = layers
      self.bias = bias
      self.normWeight = normWeight
      self.normBias = normBias
      self.outputs = outputs
    }
  }
  public let stages: [Stage]
  public let head: any PackedLinear
  public let classes: Int
  public var patchSize: Int { 1 << stages.count }
  public init(stages: [Stage], head: any PackedLinear, classes: Int) {
    self.stages = stages
    self.head = head
    self.classes = classes
  }
}
