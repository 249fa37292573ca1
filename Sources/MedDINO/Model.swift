public import Imaging
internal import Synchronization
public import Networks
public import Platform
public import Segmentation
public import Tensors
internal import WeightFiles

/// A network or an ensemble of networks with everything needed to use it: plan, labels, provenance.
///
/// Immutable and shared by threads. Weights are read and packed when a precision is first used, once for all runs; the file they
/// come from stays open until then. A backbone has no plan and gives features only.
public final class Model: Sendable {
  /// What makes a model a segmenter.
  public struct Task: Sendable {
    public let plan: Plan
    public let configuration: Plan.Configuration
    public let dataset: DatasetDescription
    public let scheme: LabelScheme
    public let taps: [Int]
    /// Mirrored axes of test-time averaging that the model was validated with: 0 rows, 1 columns.
    public let mirrorAxes: [Int]
    /// The JSON texts behind it, kept word for word for saving.
    let plansText: String
    let datasetText: String
  }
  public let context: Context
  public let encoder: EncoderConfiguration
  public let task: Task?
  public let labels: [ModelLabel]
  /// "architecture", "plans", "dataset", "configuration", "provenance", "licence", "sha256", "layout".
  public let metadata: [String: String]
  /// One per member; names as in nnU-Net checkpoints for segmenters, as in backbones otherwise.
  let members: [any ParameterSource & Sendable]
  private let networks: [NetworkCache]

  /// A member's packed networks, made under a lock so that two first runs do not pack twice.
  private final class NetworkCache: Sendable {
    let held = Mutex<[Precision: Loaded]>([:])
  }

  enum Loaded: Sendable {
    case primus(Primus)
    case backbone(VisionTransformer)
    var encoder: VisionTransformer {
      switch self {
      case .primus(let network): network.encoder
      case .backbone(let network): network
      }
    }
  }

  init(
    context: Context, encoder: EncoderConfiguration, task: Task?, labels: [ModelLabel], metadata: [String: String],
    members: [any ParameterSource & Sendable]
  ) {
    self.context = context
    self.encoder = encoder
    self.task = task
    self.labels = labels
    self.metadata = metadata
    self.members = members
    networks = members.map { _ in NetworkCache() }
  }

  public var memberCount: Int { members.count }

  /// By whose rules image files are read for this model: what the plan names; ITK's for a backbone.
  /// Throws: `.unsupported` for a reader of other kinds of files.
  public func imageReader() throws(MedDINOError) -> VolumeFile.Reader {
    guard let name = task?.plan.imageReader else { return .simpleITK }
    guard let reader = VolumeFile.Reader(rawValue: name) else {
      let known = VolumeFile.Reader.allCases.map(\.rawValue).joined(separator: ", ")
      throw .unsupported("the plan reads images with \(name); files are read as \(known)")
    }
    return reader
  }

  /// Reads an image file as the model's plan wants it. Throws: `.io`, `.format`, `.unsupported`, `.outOfMemory`, `.cancelled`.
  public func readImage(_ path: String, control: RunControl = RunControl()) throws(MedDINOError) -> Image {
    try Image.read(path, reader: try imageReader(), context: context, control: control)
  }

  /// What opening, creating and converting all promise: the plan's tiles and channels are ones that the network takes.
  /// Throws: `.shape`.
  func checkFit() throws(MedDINOError) {
    guard let task else { return }
    for extent in task.configuration.patchSize where extent % encoder.patchSize != 0 {
      throw .shape(
        "the plan's patch_size \(task.configuration.patchSize) is not a multiple of the network's patch size \(encoder.patchSize)")
    }
    let channels = task.configuration.normalization.count
    guard channels == 1 || channels == encoder.inputChannels else {
      throw .shape("the plan has \(channels) channels, the network takes \(encoder.inputChannels) (or repeats one)")
    }
  }

  /// The network's shape; nil for a backbone.
  var primusConfiguration: Primus.Configuration? {
    task.map { Primus.Configuration(encoder: encoder, taps: $0.taps, classes: $0.scheme.heads.count) }
  }

  /// Member `index` packed for a precision; loads it on first use. Throws: `.format`, `.io`, `.outOfMemory`.
  func network(_ index: Int, _ precision: Precision) throws(MedDINOError) -> Loaded {
    let result: Result<Loaded, MedDINOError> = networks[index].held.withLock { held in
      if let network = held[precision] { return .success(network) }
      do throws(MedDINOError) {
        let network = try load(index, precision)
        held[precision] = network
        return .success(network)
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  private func load(_ index: Int, _ precision: Precision) throws(MedDINOError) -> Loaded {
    if let configuration = primusConfiguration {
      return .primus(try Primus(configuration, parameters: members[index], device: context.device, precision: precision))
    }
    return .backbone(try VisionTransformer(encoder, parameters: members[index], device: context.device, precision: precision))
  }

  /// Loads every member now instead of at the first run.
  public func prepare(_ precision: Precision = .float32) throws(MedDINOError) {
    for index in members.indices { _ = try network(index, precision) }
  }

  /// Bytes of all weights in one precision.
  public func weightBytes(_ precision: Precision = .float32) -> Int {
    let perMember = parameterList.reduce(0) { $0 + $1.1.count }
    return perMember * members.count * (precision == .float32 ? 4 : 2)
  }

  /// Learned values of one member.
  public var parameterCount: Int {
    encoder.parameterCount + (primusConfiguration?.decoder.parameters.reduce(0) { $0 + $1.shape.count } ?? 0)
  }

  /// Names and shapes of one member's stored parameters, in checkpoint order.
  var parameterList: [(String, Shape)] {
    if let primusConfiguration {
      return primusConfiguration.decoder.parameters.map { ($0.name, $0.shape) }
        + encoder.parameters.map { ("dino_encoder." + $0.name, $0.shape) }
    }
    return encoder.parameters.map { ($0.name, $0.shape) }
  }
}
