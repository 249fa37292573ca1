internal import Glibc
public import Platform
public import Tensors

/// Draws one mask of a patch grid: rectangles of random area and shape until a number of patches is reached exactly.
///
/// Source: Bao et al., arXiv:2106.08254, algorithm 1; model specification 7.2.
public struct BlockMask: Equatable, Sendable {
  public let rows: Int
  public let columns: Int
  /// Patches of the largest rectangle.
  public let largestBlock: Double
  static let smallestBlock = 4.0
  /// Height over width lies between this and its inverse.
  static let narrowest = 0.3
  private static let tries = 10

  public init(rows: Int, columns: Int, largestBlock: Double) {
    (self.rows, self.columns, self.largestBlock) = (rows, columns, largestBlock)
  }

  /// The grid of square crops of `cropSize` pixels; the largest rectangle has about half of its patches.
  public init(cropSize: Int, patchSize: Int) {
    let (size, patch) = (Double(cropSize), Double(patchSize))
    let side = (0.5 * size / patch).rounded(.down)
    self.init(rows: cropSize / patchSize, columns: cropSize / patchSize, largestBlock: (side * size / patch).rounded(.down))
  }

  /// 1 where a patch is masked, [rows · columns]; `count` of them, at most all.
  public func draw(_ count: Int, _ random: inout CounterRandom) -> [UInt8] {
    var mask = [UInt8](repeating: 0, count: rows * columns)
    var masked = 0
    let wanted = min(max(count, 0), mask.count)
    while masked < wanted {
      let added = addBlock(to: &mask, budget: min(Double(wanted - masked), largestBlock), &random)
      if added == 0 { break }
      masked += added
    }
    let free = mask.indices.filter { mask[$0] == 0 }
    for place in random.permutation(free.count).prefix(wanted - masked) { mask[free[place]] = 1 }
    return mask
  }

  /// How many patches one more rectangle masked; 0 when none of the tries fitted the budget.
  private func addBlock(to mask: inout [UInt8], budget: Double, _ random: inout CounterRandom) -> Int {
    for _ in 0..<Self.tries {
      // With less than the smallest area left the bounds are reversed, and the area lies between them all the same.
      let area = Self.smallestBlock + (budget - Self.smallestBlock) * random.uniform()
      let aspect = exp(log(Self.narrowest) + (log(1 / Self.narrowest) - log(Self.narrowest)) * random.uniform())
      let height = Int((area * aspect).squareRoot().rounded(.toNearestOrEven))
      let width = Int((area / aspect).squareRoot().rounded(.toNearestOrEven))
      guard width < columns, height < rows else { continue }
      let (top, left) = (random.integer(0...rows - height), random.integer(0...columns - width))
      let places = (top..<top + height).flatMap { row in (left..<left + width).map { row * columns + $0 } }
      let fresh = places.filter { mask[$0] == 0 }
      guard !fresh.isEmpty, Double(fresh.count) <= budget else { continue }
      for place in fresh { mask[place] = 1 }
      return fresh.count
    }
    return 0
  }
}

/// How the global crops of a batch are masked. Source: model specification 7.2.
public struct MaskOptions: Equatable, Sendable {
  /// Part of the crops that is masked.
  public var sampleProbability = 0.5
  /// Parts of a crop's patches that are masked, from the least to the most masked crop.
  public var ratio: ClosedRange<Double> = 0.1...0.5
  /// Masks are rolled around by random distances.
  public var circularShift = false
  public init() {}

  /// Throws: `.invalid` naming the key.
  public func validate() throws(MedDINOError) {
    guard (0...1).contains(sampleProbability) else {
      throw .invalid("ibot.mask_sample_probability is \(sampleProbability), expected 0 to 1")
    }
    guard ratio.lowerBound >= 0, ratio.upperBound <= 1 else {
      throw .invalid("ibot.mask_ratio_min_max is \(ratio.lowerBound) to \(ratio.upperBound), expected values from 0 to 1")
    }
  }

  /// Masked patches of every masked crop of a batch of `crops`, ascending: fixed numbers, only shapes and order are random.
  public func counts(crops: Int, patches: Int) -> [Int] {
    let masked = Int(Double(crops) * sampleProbability)
    guard masked > 0 else { return [] }
    // float32 as in the official code, where other roundings would give other counts: counted from the nearer end, one rounding each.
    let (low, high) = (Float(ratio.lowerBound), Float(ratio.upperBound))
    let step = (high - low) / Float(masked)
    return (1...masked).map { index in
      let part = index < (masked + 1) / 2 ? low.addingProduct(Float(index), step) : high.addingProduct(-Float(masked - index), step)
      return Int(Float(patches) * part)
    }
  }
}

/// The masks of a batch of global crops, and the masked patches in the order in which heads see them.
public struct BatchMasks: Sendable {
  /// uint8 [crops, patches].
  public let masks: Tensor
  /// Places of the masked patches among all [crops · patches], ascending.
  public let indices: [Int]
  /// One over the number of masked patches in the crop, per masked patch.
  public let weights: [Float]

  /// Of given masks.
  public init(_ masks: Tensor) {
    precondition(masks.shape.rank == 2 && masks.dtype.byteCount == 1)
    let (crops, patches) = (masks.shape[0], masks.shape[1])
    var indices: [Int] = []
    var weights: [Float] = []
    let flags = masks.elements(UInt8.self)
    for crop in 0..<crops {
      let own = (crop * patches..<(crop + 1) * patches).filter { flags[$0] != 0 }
      indices += own
      weights += [Float](repeating: 1 / Float(max(own.count, 1)), count: own.count)
    }
    withExtendedLifetime(masks) {}
    (self.masks, self.indices, self.weights) = (masks, indices, weights)
  }

  /// Draws masks with the numbers of `options.counts` and gives them to crops in random order. Throws: `.outOfMemory`.
  public static func draw(
    _ block: BlockMask, crops: Int, _ options: MaskOptions, _ random: inout CounterRandom, in budget: MemoryBudget
  ) throws(MedDINOError) -> BatchMasks {
    let patches = block.rows * block.columns
    let masks = try Tensor([crops, patches], .uint8, in: budget, "masks")
    masks.elements(UInt8.self).update(repeating: 0)
    var drawn: [[UInt8]] = []
    for count in options.counts(crops: crops, patches: patches) {
      let mask = block.draw(count, &random)
      drawn.append(options.circularShift ? rolled(mask, block, &random) : mask)
    }
    for (mask, crop) in zip(drawn, random.permutation(crops)) {
      for (place, flag) in mask.enumerated() { masks.elements(UInt8.self)[crop * patches + place] = flag }
    }
    return BatchMasks(masks)
  }

  /// The masks of some of the crops, in this order. Throws: `.outOfMemory`.
  func crops(_ chosen: [Int], in budget: MemoryBudget) throws(MedDINOError) -> BatchMasks {
    let some = try Tensor([chosen.count, masks.shape[1]], .uint8, in: budget, "masks")
    for (place, crop) in chosen.enumerated() { some.rows(place..<place + 1).copy(from: masks.rows(crop..<crop + 1)) }
    return BatchMasks(some)
  }

  private static func rolled(_ mask: [UInt8], _ block: BlockMask, _ random: inout CounterRandom) -> [UInt8] {
    let (down, right) = (random.below(block.rows), random.below(block.columns))
    var result = mask
    for row in 0..<block.rows {
      for column in 0..<block.columns {
        result[(row + down) % block.rows * block.columns + (column + right) % block.columns] = mask[row * block.columns + column]
      }
    }
    return result
  }
}
