internal import Imaging
internal import Networks
public import Platform
public import Probing
public import Tensors

/// A model's frozen encoder as a probe sees it: the features of `Features`, slice by slice.
public struct ModelEncoder: DenseEncoder {
  private let model: Model
  private let precision: Precision
  public init(_ model: Model, precision: Precision = .float32) { (self.model, self.precision) = (model, precision) }

  public var patchSize: Int { model.encoder.patchSize }

  public func patchTokens(_ slice: Tensor, _ grid: PatchGrid, control: RunControl) throws(MedDINOError) -> Tensor {
    let size = MemoryLayout<Float>.size
    let (rows, columns) = (slice.shape[0], slice.shape[1])
    let volume = Volume(
      dtype: .float32, channels: 1, geometry: Geometry(dims: [columns, rows, 1]), base: UnsafeRawPointer(slice.pointer),
      strides: [size, size * columns, size * rows * columns], channelStride: size * rows * columns, owner: slice.buffer)
    var options = FeatureOptions()
    options.inputSize = (grid.height, grid.width)
    let features = try Features(model, volume, options: options, precision: precision, control: control)
    return features.tokens.reshaped([grid.rows * grid.columns, features.channels])
  }
}

extension Model {
  /// The model's encoder with random weights: what pretraining is compared with.
  public func withRandomEncoder(seed: UInt64) -> Model {
    Model(
      context: context, encoder: encoder, task: nil, labels: [], metadata: ["layout": "created"],
      members: [InitialParameters(seed: seed, configuration: encoder)])
  }
}
