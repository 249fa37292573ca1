internal import Segmentation
public import Tensors

/// What one position of a batch is cut from.
public struct PatchChoice: Equatable, Sendable {
  /// Index of the case.
  public let index: Int
  /// Index into the locations of the case: the class in the middle of the box; nil for a random box.
  public let location: Int?
  public let slice: Int
  /// Of the loader's size, in pixels of the slice.
  public let box: PatchBox
}

/// Draws cases, slices and boxes. Position `item` of batch `step` is a pure function of (seed, purpose, step, item).
///
/// Source: pipeline specification 6.
public struct PatchSampler: Sendable {
  public let geometry: PatchGeometry
  public let rule: ForegroundRule
  public let batchSize: Int
  public let seed: UInt64
  public let purpose: CounterRandom.Purpose

  public init(geometry: PatchGeometry, rule: ForegroundRule, batchSize: Int, seed: UInt64, purpose: CounterRandom.Purpose) {
    self.geometry = geometry
    self.rule = rule
    self.batchSize = batchSize
    self.seed = seed
    self.purpose = purpose
  }

  /// Cases are drawn with replacement, each as likely. `cases` must not be empty.
  public func draw(step: UInt64, item: Int, from cases: [any TrainingCase]) -> PatchChoice {
    var random = CounterRandom(seed: seed, purpose: purpose, step: step, item: UInt64(item))
    let index = random.below(cases.count)
    let locations = cases[index].locations
    let forced = rule.isForced(position: item, batchSize: batchSize)
    return draw(index, cases[index].shape, locations, forced: forced, &random)
  }

  /// Class, slice and box within one case. Slices with more locations of the class are more likely.
  private func draw(
    _ index: Int, _ shape: [Int], _ locations: [ForegroundLocations], forced: Bool, _ random: inout CounterRandom
  ) -> PatchChoice {
    let candidates = rule.candidates(locations, forced: forced)
    if !candidates.isEmpty {
      let location = candidates[random.below(candidates.count)]
      let found = locations[location]
      if let slice = found.slice(random.below(found.count)),
        let place = found.place(random.below(found.count(inSlice: slice)), inSlice: slice)
      {
        let row = geometry.start(axis: 0, size: shape[2], around: place.row)
        let column = geometry.start(axis: 1, size: shape[3], around: place.column)
        return PatchChoice(index: index, location: location, slice: slice, box: geometry.box(row: row, column: column))
      }
    }
    let slice = random.below(shape[1])
    let row = random.integer(geometry.starts(axis: 0, size: shape[2]))
    let column = random.integer(geometry.starts(axis: 1, size: shape[3]))
    return PatchChoice(index: index, location: nil, slice: slice, box: geometry.box(row: row, column: column))
  }
}
