internal import Glibc
public import Platform
public import Tensors

/// Sizes and places of crops. Source: model specification 7.1, 7.4, 10.3.
public struct CropOptions: Equatable, Sendable {
  /// One resolution: all crops of an iteration have its sizes. Units: pixels.
  public struct Resolution: Equatable, Sendable {
    public var global: Int
    public var local: Int
    /// Of the Gram teacher's views; nil: it sees the global crops.
    public var gram: Int?
    /// Probability of the resolution.
    public var ratio: Double
    public init(global: Int, local: Int, gram: Int? = nil, ratio: Double = 1) {
      (self.global, self.local, self.gram, self.ratio) = (global, local, gram, ratio)
    }
  }
  public var resolutions = [Resolution(global: 256, local: 112)]
  /// Part of the image's area.
  public var globalScale = 0.32...1
  public var localScale = 0.05...0.32
  public var localCount = 8
  public var horizontalFlips = true
  /// Local crops are cut from the global ones instead of the image.
  public var localCropsFromGlobal = false
  /// The Gram teacher's views have no colour changes.
  public var gramWithoutDistortions = false
  /// Colours are changed once per image instead of once per crop.
  public var sharesColorChanges = false
  public init() {}

  /// Throws: `.invalid` naming the official key.
  public func validate(patchSize: Int) throws(MedDINOError) {
    guard !resolutions.isEmpty else { throw .invalid("crops.global_crops_size is empty, expected at least one size") }
    for resolution in resolutions {
      for (key, size) in [("global_crops_size", resolution.global), ("local_crops_size", resolution.local)] {
        guard size >= patchSize, size <= 16384 else {
          throw .invalid("crops.\(key) is \(size), expected \(patchSize) (one patch) to 16384")
        }
      }
      if let gram = resolution.gram, !(patchSize...16384 ~= gram) {
        throw .invalid("crops.gram_teacher_crops_size is \(gram), expected \(patchSize) (one patch) to 16384")
      }
      guard resolution.local <= resolution.global || !localCropsFromGlobal else {
        throw .invalid("crops.local_crops_size is \(resolution.local), expected at most global_crops_size \(resolution.global)")
      }
      guard resolution.ratio >= 0, resolution.ratio.isFinite else {
        throw .invalid("crops.global_local_crop_pairs_ratios holds \(resolution.ratio), expected numbers of at least 0")
      }
    }
    guard resolutions.reduce(0, { $0 + $1.ratio }) > 0 else {
      throw .invalid("crops.global_local_crop_pairs_ratios sum to 0, expected more")
    }
    for (key, scale) in [("global_crops_scale", globalScale), ("local_crops_scale", localScale)]
    where !(scale.lowerBound > 0 && scale.upperBound <= 1) {
      throw .invalid("crops.\(key) is \(scale.lowerBound) to \(scale.upperBound), expected parts above 0 up to 1")
    }
    guard (1...256).contains(localCount) else { throw .invalid("crops.local_crops_number is \(localCount), expected 1 to 256") }
  }

  /// Seed of the choice of a resolution, the same on all ranks. Source: model specification 7.4.
  private static let choiceSeed: UInt64 = 65537

  /// The resolution of one iteration: a pure function of its number, so that a resumed run chooses as an uninterrupted one.
  /// Other draws than the official loader's, with the same probabilities.
  public func resolution(at iteration: Int) -> Resolution {
    var random = CounterRandom(seed: Self.choiceSeed, purpose: "resolution", step: UInt64(max(iteration, 0)))
    var left = random.uniform() * resolutions.reduce(0) { $0 + $1.ratio }
    for resolution in resolutions.dropLast() {
      left -= resolution.ratio
      if left < 0 { return resolution }
    }
    return resolutions[resolutions.count - 1]
  }
}

/// A rectangle of an image, and whether it is mirrored.
public struct CropWindow: Equatable, Sendable {
  public var top: Int
  public var left: Int
  public var rows: Int
  public var columns: Int
  public var isFlipped = false

  /// Width over height of a crop lies between this and its inverse.
  private static let narrowest = 3.0 / 4.0
  private static let tries = 10

  public init(top: Int, left: Int, rows: Int, columns: Int, isFlipped: Bool = false) {
    (self.top, self.left, self.rows, self.columns, self.isFlipped) = (top, left, rows, columns, isFlipped)
  }

  /// A part of the area with a log-uniform aspect, anywhere; after too many that do not fit, the middle.
  /// Source: model specification 7.1 (random resized crop).
  public static func draw(
    rows: Int, columns: Int, scale: ClosedRange<Double>, flips: Bool, _ random: inout CounterRandom
  ) -> CropWindow {
    var window: CropWindow?
    for _ in 0..<tries where window == nil {
      let area = Double(rows) * Double(columns) * random.uniform(scale)
      let aspect = exp(random.uniform(log(narrowest)...log(1 / narrowest)))
      let width = Int((area * aspect).squareRoot().rounded(.toNearestOrEven))
      let height = Int((area / aspect).squareRoot().rounded(.toNearestOrEven))
      guard 1...columns ~= width, 1...rows ~= height else { continue }
      window = CropWindow(
        top: random.integer(0...rows - height), left: random.integer(0...columns - width), rows: height, columns: width)
    }
    var result = window ?? middle(rows: rows, columns: columns)
    result.isFlipped = flips && random.chance(0.5)
    return result
  }

  /// The largest window in the middle whose aspect is allowed.
  private static func middle(rows: Int, columns: Int) -> CropWindow {
    let aspect = Double(columns) / Double(rows)
    var (height, width) = (rows, columns)
    if aspect < narrowest {
      height = max(1, Int((Double(columns) / narrowest).rounded(.toNearestOrEven)))
    } else if aspect > 1 / narrowest {
      width = max(1, Int((Double(rows) / narrowest).rounded(.toNearestOrEven)))
    }
    return CropWindow(top: (rows - height) / 2, left: (columns - width) / 2, rows: height, columns: width)
  }
}
