public import Platform
public import Tensors

/// Dice over patches: hard predictions against targets, voxels of all batches counted together.
///
/// Source: pipeline specification 9 (validation epoch).
public struct PseudoDice: Equatable, Sendable {
  private let regions: Bool
  private let ignoreLabel: Int?
  /// Per output of the network, background included for plain labels.
  public private(set) var truePositives: [Int]
  public private(set) var falsePositives: [Int]
  public private(set) var falseNegatives: [Int]

  /// `heads`: outputs of the network. `ignoreLabel`: labels: the value that is left out; regions: not nil when the last target channel
  /// marks the pixels that are left out.
  public init(heads: Int, regions: Bool, ignoreLabel: Int?) {
    self.regions = regions
    self.ignoreLabel = ignoreLabel
    truePositives = [Int](repeating: 0, count: heads)
    falsePositives = truePositives
    falseNegatives = truePositives
  }

  /// 2 TP / (2 TP + FP + FN) per foreground output; NaN where nothing is and nothing was found.
  public var scores: [Double] {
    ((regions ? 0 : 1)..<max(truePositives.count, 1)).map { channel in
      let twice = 2 * truePositives[channel]
      let all = twice + falsePositives[channel] + falseNegatives[channel]
      return all == 0 ? .nan : Double(twice) / Double(all)
    }
  }
  /// Mean of the scores that are numbers; NaN without any.
  public var mean: Double {
    let known = scores.filter { !$0.isNaN }
    return known.isEmpty ? .nan : known.reduce(0, +) / Double(known.count)
  }

  /// Counts one batch. The first maximum wins; a region is found where its sigmoid is above one half.
  ///
  /// Shapes: logits float32 [batch, heads, H, W]; targets int16 [batch, 1, H, W], or [batch, regions (+ 1), H, W] of 0 and 1.
  /// Throws: `.shape`.
  public mutating func add(logits: Tensor, targets: Tensor) throws(MedDINOError) {
    let (batch, heads) = (logits.shape[0], logits.shape[1])
    let pixels = logits.shape[2] * logits.shape[3]
    let planes = regions ? heads + (ignoreLabel == nil ? 0 : 1) : 1
    guard heads == truePositives.count, targets.shape.extents == [batch, planes, logits.shape[2], logits.shape[3]] else {
      throw .shape(
        "logits are \(logits.shape) and targets \(targets.shape), expected \(truePositives.count) heads and \(planes) target planes")
    }
    guard let scores = logits.floats.baseAddress, let wanted = targets.elements(Int16.self).baseAddress else { return }
    for image in 0..<batch {
      let (score, target) = (scores + image * heads * pixels, wanted + image * planes * pixels)
      if regions {
        addRegions(score, target, pixels: pixels)
      } else {
        addLabels(score, target, pixels: pixels)
      }
    }
    withExtendedLifetime((logits, targets)) {}
  }

  /// Counts what all ranks have counted. Throws: `.state`.
  mutating func sum(over ranks: any Communicator) throws(MedDINOError) {
    // Voxels of an epoch are fewer than 2^53.
    let counts = try ranks.sums((truePositives + falsePositives + falseNegatives).map(Double.init)).map { Int($0) }
    let heads = truePositives.count
    truePositives = Array(counts[..<heads])
    falsePositives = Array(counts[heads..<2 * heads])
    falseNegatives = Array(counts[(2 * heads)...])
  }

  private mutating func addLabels(_ scores: UnsafePointer<Float>, _ targets: UnsafePointer<Int16>, pixels: Int) {
    let heads = truePositives.count
    for pixel in 0..<pixels {
      let wanted = Int(targets[pixel])
      if wanted == ignoreLabel { continue }
      var found = 0
      var best = scores[pixel]
      for head in 1..<max(heads, 1) where scores[head * pixels + pixel] > best {
        best = scores[head * pixels + pixel]
        found = head
      }
      if found == wanted {
        truePositives[found] += 1
      } else {
        falsePositives[found] += 1
        if wanted >= 0, wanted < heads { falseNegatives[wanted] += 1 }
      }
    }
  }

  private mutating func addRegions(_ scores: UnsafePointer<Float>, _ targets: UnsafePointer<Int16>, pixels: Int) {
    let heads = truePositives.count
    for head in 0..<heads {
      for pixel in 0..<pixels {
        if ignoreLabel != nil, targets[heads * pixels + pixel] != 0 { continue }
        let found = scores[head * pixels + pixel] > 0
        let wanted = targets[head * pixels + pixel] != 0
        if found, wanted { truePositives[head] += 1 }
        if found, !wanted { falsePositives[head] += 1 }
        if !found, wanted { falseNegatives[head] += 1 }
      }
    }
  }
}
