public import Segmentation

/// Which positions of a batch must show foreground, and of which class. Pure: the draws come from `PatchSampler`.
///
/// Source: pipeline specification 6.
public struct ForegroundRule: Equatable, Sendable {
  /// Share of a batch that must show foreground; the last positions do.
  public var share: Double
  /// Values of the key of all annotated pixels; nil without an ignore label.
  public let annotated: [Int]?

  public init(annotated: [Int]? = nil, share: Double = FineTuningDefaults.foregroundOversampling) {
    self.annotated = annotated
    self.share = share
  }
  public init(_ scheme: LabelScheme, share: Double = FineTuningDefaults.foregroundOversampling) {
    self.init(annotated: scheme.ignoreLabel == nil ? nil : scheme.allLabels, share: share)
  }

  /// Half to even, as everywhere in the official code.
  public func isForced(position: Int, batchSize: Int) -> Bool {
    Double(position) >= (Double(batchSize) * (1 - share)).rounded(.toNearestOrEven)
  }

  /// The entries of `locations` of which one is drawn; empty: any slice and any box.
  ///
  /// Forced: every class with locations; the annotated key only when it is alone. Otherwise the annotated key, so that patches
  /// without any annotation are rare.
  public func candidates(_ locations: [ForegroundLocations], forced: Bool) -> [Int] {
    let filled = locations.indices.filter { locations[$0].count > 0 }
    guard let annotated else { return forced ? filled : [] }
    let all = filled.filter { locations[$0].key.isList && locations[$0].key.values == annotated }
    let classes = filled.filter { !all.contains($0) }
    return forced && !classes.isEmpty ? classes : all
  }
}

extension ForegroundLocations {
  /// The slice of location `index`; nil when there are not so many.
  public func slice(_ index: Int) -> Int? {
    guard let positions, (0..<count).contains(index) else { return nil }
    return withExtendedLifetime(positions) { Int(positions.elements(Int32.self)[index * 3]) }
  }

  /// How many of the locations lie in the slice.
  public func count(inSlice slice: Int) -> Int {
    guard let positions else { return 0 }
    return withExtendedLifetime(positions) {
      let values = positions.elements(Int32.self)
      var found = 0
      for index in 0..<count where Int(values[index * 3]) == slice { found += 1 }
      return found
    }
  }

  /// Row and column of the `rank`-th location in the slice, in stored order; nil when there are not so many.
  public func place(_ rank: Int, inSlice slice: Int) -> (row: Int, column: Int)? {
    guard let positions else { return nil }
    return withExtendedLifetime(positions) {
      let values = positions.elements(Int32.self)
      var left = rank
      for index in 0..<count where Int(values[index * 3]) == slice {
        if left == 0 { return (Int(values[index * 3 + 1]), Int(values[index * 3 + 2])) }
        left -= 1
      }
      return nil
    }
  }
}
