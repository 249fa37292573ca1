internal import Networks
public import Platform
public import Tensors
public import Training
public import WeightFiles

/// Everything that fixes a pretraining run, from one JSON document with the official keys.
///
/// Source: model specification 10.3; keys that are left out have the preset's values, or the official defaults.
public struct PretrainingSettings: Sendable {
  /// The complete document: what a checkpoint keeps and `--print-config` shows.
  public let document: JSON
  /// Processes that share every iteration.
  public let ranks: Int
  public var networks: DistillationNetworks
  public let losses: DistillationOptions
  public let masks: MaskOptions
  public let crops: CropOptions
  public let pixels: PixelOptions
  public let optimizer: DistillationOptimizer
  public let schedules: SelfSupervisedSchedules
  public let run: RunSettings
  public let watch: WatchSettings
  /// Keys that were given and have no effect here, by path: what to tell who brings a configuration of the official code.
  public let unused: [String]

  /// Values of the loop itself.
  public struct RunSettings: Equatable, Sendable {
    /// Images of one iteration on each rank.
    public var batchSize: Int
    public var seed: UInt64
    public var workers: Int
    public var epochs: Int
    /// Iterations of an epoch.
    public var epochLength: Int
    public var recompute: Bool
    public var precision: Precision
    /// Iterations between checkpoints, how many are kept, and iterations whose checkpoint is kept for good (0: none).
    public var checkpointPeriod: Int
    public var checkpointsKept: Int
    public var keepEvery: Int
    /// Iterations between exports of the teacher; 0: only at the end.
    public var exportPeriod: Int
    /// A backbone to start from, with new heads.
    public var initialBackbone: String?
    /// The checkpoint, or exported teacher, of an earlier stage: student, teacher and Gram teacher start as its teacher.
    public var previousStage: String?
    /// The Gram teacher's own file, where it is not that of the earlier stage.
    public var gramTeacher: String?
    public var iterations: Int { epochs * epochLength }
  }

  /// How a run is watched; nothing of it changes the run.
  public struct WatchSettings: Equatable, Sendable {
    /// Iterations between looks at the teacher; 0: none.
    public var every: Int
    /// Slices that are always the same ones, spread over the source; of the first `maps` of them maps are drawn.
    public var slices: Int
    public var maps: Int
    /// Pixels of the longer side of slices in maps and probes; nil: their own.
    public var size: Int?
    /// Labelled volumes, see `ProbeData`; nil: no probe.
    public var probeData: String?
    public var probeLabels: [Int]
    public var probeSlices: Int
  }

  public static let presetNames = SettingsTemplate.presets.map(\.name)

  /// `overlay`: the keys that differ from the preset; nil takes the preset, without one the official defaults.
  /// `ranks`: processes that share every iteration, each with `train.batch_size_per_gpu` images; rates scale with all of them.
  /// Keys of the official code that this library has no use for are taken where nothing is lost; `unused` names them.
  /// Throws: `.invalid` naming all unknown keys, an unknown preset or a value out of range.
  public init(preset: String? = nil, _ overlay: JSON? = nil, ranks: Int = 1) throws(MedDINOError) {
    let template = try JSON.parse(SettingsTemplate.text, source: "pretraining defaults")
    var document = Self.without(SettingsTemplate.absent, template)
    for name in try Self.lineage(preset) {
      let text = SettingsTemplate.presets.first { $0.name == name }?.text ?? "{}"
      document = try SettingsMerge.merged(document, try JSON.parse(text, source: name), template: template)
    }
    var unused: [String] = []
    if let overlay {
      guard overlay.objectValue != nil else {
        throw .invalid("the pretraining settings are \(overlay.text().prefix(40)), expected an object")
      }
      let known = try OfficialSettings.stripped(overlay, template: template, unused: &unused)
      document = try SettingsMerge.merged(document, known, template: template)
    }
    try OfficialSettings.checkKinds(document, template: template)
    try self.init(complete: document, ranks: ranks, unused: unused)
  }

  private init(complete document: JSON, ranks: Int, unused: [String]) throws(MedDINOError) {
    guard (1...(1 << 20)).contains(ranks) else { throw .invalid("ranks are \(ranks), expected 1 to 1048576") }
    let reader = SettingsReader(document)
    try Self.checkFixed(reader)
    self.document = document
    self.ranks = ranks
    self.unused = unused
    run = try Self.run(reader)
    watch = try Self.watch(reader)
    networks = try Self.networks(reader)
    losses = try Self.losses(reader, run)
    masks = try Self.masks(reader)
    crops = try Self.crops(reader, patchSize: networks.encoder.patchSize)
    pixels = try Self.pixels(reader)
    optimizer = try Self.optimizer(reader)
    schedules = try SelfSupervisedSchedules(document, ranks: ranks)
    try networks.validate()
    try losses.validate()
    try masks.validate()
  }

  /// Images of one iteration on all ranks.
  public var totalBatchSize: Int { run.batchSize * ranks }
  /// A batch that is spread over ranks is not the same as a whole one: a loss looks at the images of one rank alone.
  var dependsOnRanks: Bool {
    let looksAround = losses.koLeoWeight > 0 && !losses.isKoLeoDistributed
    return looksAround || networks.encoder.dropPathRate > 0 || losses.gram.map { !$0.form.imageLevel } ?? false
  }

  /// The preset and those that it builds on, the base first.
  private static func lineage(_ preset: String?) throws(MedDINOError) -> [String] {
    guard let preset else { return [] }
    guard presetNames.contains(preset) else {
      throw .invalid("pretraining preset is \"\(preset)\", expected one of \(presetNames.joined(separator: ", "))")
    }
    return (SettingsTemplate.parents[preset].map { [$0] } ?? []) + [preset]
  }

  private static func without(_ paths: [String], _ document: JSON) -> JSON {
    var object = document.objectValue ?? JSONObject()
    for path in paths {
      let parts = path.split(separator: ".", maxSplits: 1).map(String.init)
      object[parts[0]] = parts.count == 1 ? .null : without([parts[1]], object[parts[0]] ?? .null)
    }
    return .object(object)
  }
}
