internal import Platform
public import WeightFiles

/// Who laid a checkpoint out, and by which names its tensors go.
public enum CheckpointLayout: String, Sendable, CaseIterable {
  /// Released DINOv3 backbones: a flat mapping of official names.
  case official
  /// `{"teacher": {"backbone.*", heads}}`: self-supervised pretraining, and the published MedDINOv3 backbone.
  case teacher
  /// A training state of nnU-Net with a Primus network.
  case nnUNet
  case huggingFace
  case timm
}

/// What an nnU-Net checkpoint says besides weights. Source: model specification 2.3.
public struct NNUNetState: Sendable {
  public let trainerName: String?
  public let plans: JSON
  /// Name of the configuration inside the plans, such as "2d".
  public let configuration: String?
  public let fold: JSON
  public let dataset: JSON
  /// Spatial axes that may be mirrored: 0 rows, 1 columns. Nil where the file has none.
  public let mirrorAxes: [Int]?
  public let currentEpoch: Int?
  public let bestEMA: Double?
  /// Per-epoch lists: losses, Dice, learning rates, times.
  public let logging: PickleValue
  /// The memory that plans and dataset take.
  let charge: MemoryCharge
}

/// A checkpoint with its tensors under official names. Tensors are read from the file when they are asked for.
public struct CheckpointContents: Sendable {
  /// What errors call it.
  public let label: String
  public let layout: CheckpointLayout
  /// Names of model specification 1.10, without a prefix.
  public let encoder: [CheckpointEntry]
  /// `up_projection.decode.*`; empty for a backbone.
  public let decoder: [CheckpointEntry]
  /// Names of the file that belong to heads of pretraining or to other networks beside the one that is read.
  public let unused: [String]
  /// What a user may want to know about how the file was understood.
  public let notes: [String]
  /// config.json of a HuggingFace or timm folder.
  public let configuration: JSON?
  /// What a backbone that meddino exported says of itself in its metadata.
  public let declared: EncoderConfiguration?
  public let training: NNUNetState?

  private let index: [String: Int]

  init(
    label: String, layout: CheckpointLayout, encoder: [CheckpointEntry], decoder: [CheckpointEntry] = [], unused: [String] = [],
    notes: [String] = [], configuration: JSON? = nil, declared: EncoderConfiguration? = nil, training: NNUNetState? = nil
  ) throws(MedDINOError) {
    self.label = label
    self.layout = layout
    self.encoder = encoder
    self.decoder = decoder
    self.unused = unused
    self.notes = notes
    self.configuration = configuration
    self.declared = declared
    self.training = training
    var index: [String: Int] = [:]
    for (place, entry) in encoder.enumerated() where index.updateValue(place, forKey: entry.name) != nil {
      throw .format("\(label): \(entry.name) appears twice once prefixes are removed")
    }
    self.index = index
  }

  /// The encoder's entry of an official name.
  public func entry(_ name: String) -> CheckpointEntry? { index[name].map { encoder[$0] } }
}
