internal import FineTuning
internal import Networks
internal import Platform
internal import Tensors
internal import WeightFiles

/// Which network a run trains, and which weights of a start model it takes over.
struct NetworkChoice {
  let task: Model.Task
  let configuration: Primus.Configuration
  /// The run's settings with the encoder that is really trained.
  let settings: FineTuningSettings
  private let start: Model?

  /// Throws: `.invalid`, `.shape`, `.unsupported`.
  init(start: Model?, dataset: TrainingDataset?, settings run: RunSettings, context: Context) throws(MedDINOError) {
    var settings = run.loop
    let recipe = settings.recipe
    var encoder = recipe.encoder
    var taps = recipe.taps
    if let start {
      guard start.memberCount == 1 else {
        throw .unsupported("the start model has \(start.memberCount) members, expected a model of one")
      }
      let isLenient = recipe.backboneLoading == .lenient && start.task == nil
      if !isLenient {
        if run.namesNetwork, !start.encoder.hasNetwork(of: encoder) {
          throw .shape("the settings name another encoder than that of the start model; leave \"encoder\" and \"taps\" out")
        }
        encoder = start.encoder
        encoder.dropPathRate = recipe.encoder.dropPathRate
        taps = start.task?.taps ?? taps
        if taps.contains(where: { $0 >= encoder.depth })
          || (start.task == nil && encoder.depth != recipe.encoder.depth && !run.namesNetwork)
        {
          taps = taps.count > 1 ? Primus.Configuration.evenTaps(depth: encoder.depth) : [encoder.depth - 1]
        }
      }
    }
    let given = try Self.texts(start, dataset)
    task = try ModelText.task(
      plans: given.plans, dataset: given.dataset, configuration: given.configuration, taps: taps,
      mirrorAxes: settings.mirrorAxes(start: start?.task?.mirrorAxes), in: context.budget)
    let channels = task.configuration.normalization.count
    guard channels == 1 || channels == encoder.inputChannels else {
      throw .shape("the plan has \(channels) channels, the encoder takes \(encoder.inputChannels) (or repeats one)")
    }
    for extent in task.configuration.patchSize where extent % encoder.patchSize != 0 {
      throw .shape(
        "the plan's patch_size \(task.configuration.patchSize) is not a multiple of the encoder's patch size \(encoder.patchSize)")
    }
    configuration = Primus.Configuration(encoder: encoder, taps: taps, classes: task.scheme.heads.count)
    try configuration.validate()
    settings.recipe.encoder = encoder
    settings.recipe.taps = taps
    try settings.validate()
    self.settings = settings
    self.start = start
  }

  private static func texts(_ start: Model?, _ dataset: TrainingDataset?) throws(MedDINOError) -> (
    plans: String, dataset: String, configuration: String
  ) {
    if let dataset { return (dataset.plansText, dataset.datasetText, dataset.configuration.name) }
    guard let task = start?.task else {
      throw .invalid("dataset is NULL, so start must be a segmenter whose plan and labels are used")
    }
    return (task.plansText, task.datasetText, task.configuration.name)
  }

  /// What the start model says of itself.
  var startText: JSON { start?.originText ?? .null }

  /// The start model's tensors as far as they fit; the rest is drawn.
  func parameters(seed: UInt64) -> StartParameters {
    var kept: Set<String> = []
    if let old = start?.primusConfiguration?.decoder {
      let shapes = Dictionary(old.parameters.map { ($0.name, $0.shape) }, uniquingKeysWith: { first, _ in first })
      kept = Set(configuration.decoder.parameters.filter { shapes[$0.name] == $0.shape }.map(\.name))
      // A decoder whose first stage does not fit has learned nothing that the others could use.
      if configuration.decoder.parameters.first.map({ !kept.contains($0.name) }) ?? true { kept = [] }
      // Outputs for other labels start fresh, also when there are as many.
      if start?.task?.scheme != task.scheme { kept = kept.filter { !$0.hasPrefix(configuration.decoder.headPrefix) } }
    }
    return StartParameters(
      model: start?.members.first, isBackbone: start?.task == nil, keptDecoder: kept,
      initial: InitialParameters(seed: seed, configuration: configuration.encoder))
  }
}

extension DecoderConfiguration {
  fileprivate var headPrefix: String { "up_projection.decode.\(stages)." }
}

extension EncoderConfiguration {
  /// Equal but for what only training uses.
  fileprivate func hasNetwork(of other: EncoderConfiguration) -> Bool {
    var mine = self
    mine.dropPathRate = other.dropPathRate
    mine.ropeShift = other.ropeShift
    mine.ropeJitter = other.ropeJitter
    mine.ropeRescale = other.ropeRescale
    return mine == other
  }
}
