public import Networks
public import Platform
public import Tensors

/// Everything that fixes a fine-tuning run besides its data: the recipe, and how it is carried out.
public struct FineTuningSettings: Equatable, Sendable {
  public var recipe: Recipe
  /// Images of a batch; nil: the plan's.
  public var batchSize: Int?
  /// Batches whose gradients make one update.
  public var accumulate = 1
  /// Factor from one encoder layer's rate to that of the layer below; nil: none, as officially.
  public var layerDecay: Double?
  public var augmentation = Augmentation.official
  /// Whether training mirrors its samples, which the model then also does when it segments. False where only their side tells labels
  /// apart. nil: as the start model was trained; else whenever there is augmentation.
  public var mirror: Bool?
  public var adaptation = Adaptation.full
  public var precision = Precision.float32
  /// Activations of encoder blocks are computed again in the backward instead of kept.
  public var recompute = false
  public var seed: UInt64 = 0
  /// Threads that prepare batches; 0 prepares each when it is needed.
  public var workers = 1
  /// Epochs between two writes of the latest checkpoint.
  public var saveEvery = 50
  /// Epochs without a better moving average of the Dice after which the run ends; nil: never.
  public var patience: Int?
  /// Seconds after which the run ends, counted from the first update of this process, at the end of an update; nil: no limit. The epoch
  /// then ends early, and a resumed run goes on with the next one.
  public var timeBudget: Double?
  /// Decoder only, without augmentation: bytes of encoder features that may be kept on disk, in the run's folder; 0 keeps none.
  public var featureCacheBytes = 0

  public init(recipe: Recipe) { self.recipe = recipe }

  /// Axes that training and inference mirror, 0 rows and 1 columns. `start`: those of the start model.
  public func mirrorAxes(start: [Int]?) -> [Int] {
    guard let mirror else { return start ?? (augmentation.mirror.chance > 0 ? [0, 1] : []) }
    return mirror ? [0, 1] : []
  }

  /// The augmentation with mirroring of those axes alone.
  public func augmentation(mirroring axes: [Int]) -> Augmentation {
    var result = augmentation
    result.mirror.allowsRows = axes.contains(0)
    result.mirror.allowsColumns = axes.contains(1)
    return result
  }

  /// Throws: `.invalid` naming the key of the settings.
  public func validate() throws(MedDINOError) {
    try recipe.validate()
    func whole(_ value: Int, _ range: ClosedRange<Int>, _ key: String) throws(MedDINOError) {
      guard range.contains(value) else {
        throw .invalid("\(key) is \(value), expected \(range.lowerBound) to \(range.upperBound)")
      }
    }
    if let batchSize { try whole(batchSize, 1...4096, "batch_size") }
    try whole(accumulate, 1...4096, "accumulate")
    try whole(workers, 0...256, "workers")
    try whole(saveEvery, 1...1_000_000, "save_every")
    try whole(featureCacheBytes, 0...Int.max, "feature_cache")
    if let patience { try whole(patience, 1...1_000_000, "patience") }
    if let layerDecay, !(layerDecay > 0 && layerDecay <= 1) {
      throw .invalid("layer_decay is \(layerDecay), expected a value above 0 and at most 1")
    }
    if let timeBudget, !(timeBudget > 0 && timeBudget.isFinite) { throw .invalid("time_budget is \(timeBudget), expected seconds above 0") }
    try augmentation.validate()
    if augmentation.isNone, augmentation.lowResolution.isApplied { throw .invalid("low_resolution is true, but augmentation is false") }
    if featureCacheBytes > 0 {
      guard adaptation == .decoderOnly else { throw .invalid("feature_cache needs adapt \"decoder\", which is \"\(adaptation.text)\"") }
      guard augmentation.isNone else {
        throw .invalid("feature_cache needs \"augmentation\": false, because augmented images never come again")
      }
    }
    if mirror == true, augmentation.mirror.chance == 0 { throw .invalid("mirror is true, but augmentation is false") }
    try adaptation.validate(recipe.encoder)
  }
}
