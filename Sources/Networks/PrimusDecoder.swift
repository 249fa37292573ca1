public import Platform
public import Tensors

/// Shape of the Primus decoder (`PatchDecode`): log2(patch) upsampling stages, each halving the channels, then a 1×1 convolution.
/// Source: model specification 3.1.
public struct DecoderConfiguration: Equatable, Sendable {
  /// Channels of the concatenated taps.
  public var inputChannels: Int
  public var patchSize: Int
  public var classes: Int

  public init(inputChannels: Int, patchSize: Int, classes: Int) {
    self.inputChannels = inputChannels
    self.patchSize = patchSize
    self.classes = classes
  }

  public var stages: Int { patchSize.trailingZeroBitCount }
  /// Channels before stage 0, after stage 0, …: each the floor of half the one before.
  public var channels: [Int] { (0...stages).map { inputChannels >> $0 } }

  /// Throws: `.invalid` naming the field.
  public func validate() throws(MedDINOError) {
    guard patchSize >= 2, patchSize.nonzeroBitCount == 1, patchSize <= 256 else {
      throw .invalid("the decoder needs a patch size that is a power of two from 2 to 256, got \(patchSize)")
    }
    guard (1...65536).contains(classes) else { throw .invalid("the decoder has \(classes) classes, expected 1 to 65536") }
    guard inputChannels >> stages > 0, inputChannels <= 1 << 20 else {
      throw .invalid("the decoder's \(inputChannels) input channels do not last for \(stages) halvings")
    }
  }
}

/// Loads the decoder and packs it for a device: transposed convolutions become products, split by tap.
struct DecoderLoader {
  let configuration: DecoderConfiguration
  let taps: Int
  let source: any ParameterSource
  let device: any Device
  let precision: Precision
  static let prefix = "up_projection.decode."

  func load() throws(MedDINOError) -> PackedDecoder {
    try configuration.validate()
    guard taps > 0, configuration.inputChannels % taps == 0 else {
      throw .invalid("\(configuration.inputChannels) decoder channels cannot be shared by \(taps) taps")
    }
    var stages: [PackedDecoder.Stage] = []
    for index in 0..<configuration.stages { stages.append(try stage(index)) }
    let (last, classes) = (configuration.channels[configuration.stages], configuration.classes)
    let name = Self.prefix + "\(configuration.stages)."
    let weight = try tensor(name + "weight", [classes, last, 1, 1]).reshaped([classes, last])
    let head = try device.pack(weight: weight, bias: try tensor(name + "bias", [classes]), precision: precision)
    return PackedDecoder(stages: stages, head: head, classes: classes)
  }

  private func tensor(_ name: String, _ shape: Shape) throws(MedDINOError) -> Tensor {
    try source.parameter(name, shape, in: device.budget)
  }

  private func stage(_ index: Int) throws(MedDINOError) -> PackedDecoder.Stage {
    let (inputs, outputs) = (configuration.channels[index], configuration.channels[index + 1])
    let name = Self.prefix + "\(index)."
    let weight = try tensor(name + "0.weight", [inputs, outputs, 2, 2])
    let bias = try tensor(name + "0.bias", [outputs])
    let repeated = try Tensor([4 * outputs], in: device.budget, "decoder bias")
    for i in 0..<4 * outputs { repeated.floats[i] = bias.floats[i % outputs] }
    let parts = index == 0 ? taps : 1
    var layers: [any PackedLinear] = []
    for part in 0..<parts {
      let width = inputs / parts
      let rows = try product(weight, inputs: part * width..<(part + 1) * width, outputs: outputs)
      layers.append(try device.pack(weight: rows, bias: nil, precision: precision))
    }
    return PackedDecoder.Stage(
      layers: layers, bias: repeated, normWeight: try tensor(name + "1.weight", [outputs]),
      normBias: try tensor(name + "1.bias", [outputs]), outputs: outputs)
  }

  /// The transposed convolution's weight [inputs, outputs, 2, 2] as a linear layer's: rows (ky, kx, output), columns the inputs.
  private func product(_ weight: Tensor, inputs: Range<Int>, outputs: Int) throws(MedDINOError) -> Tensor {
    let result = try Tensor([4 * outputs, inputs.count], in: device.budget, "decoder weight")
    let (from, to) = (weight.floats, result.floats)
    for (column, input) in inputs.enumerated() {
      for output in 0..<outputs {
        for quadrant in 0..<4 {
          to[(quadrant * outputs + output) * inputs.count + column] = from[(input * outputs + output) * 4 + quadrant]
        }
      }
    }
    return result
  }
}

/// `PatchDecode` on its own: one feature map in, planar logits out.
public final class PrimusDecoder: Sendable {
  public let configuration: DecoderConfiguration
  let packed: PackedDecoder

  /// Throws: `.invalid`, `.format` for missing or misshapen parameters, `.outOfMemory`.
  public init(
    _ configuration: DecoderConfiguration, taps: Int = 1, parameters: any ParameterSource, device: any Device,
    precision: Precision = .float32
  ) throws(MedDINOError) {
    self.configuration = configuration
    packed = try DecoderLoader(
      configuration: configuration, taps: taps, source: parameters, device: device, precision: precision
    ).load()
  }

  /// Logits [batch, classes, rows * patch, columns * patch] of taps, each [batch, prefix + rows * columns, channels].
  public func decode(
    _ taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, into logits: Tensor, device: any Device, workspace: Workspace,
    control: RunControl = RunControl(), progress: ClosedRange<Double> = 0...1
  ) throws(MedDINOError) {
    try device.decode(
      taps, prefixTokens: prefixTokens, rows: rows, columns: columns, packed, into: logits, workspace: workspace, control: control,
      progress: progress)
  }
}
