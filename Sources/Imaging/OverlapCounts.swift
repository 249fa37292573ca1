/// How the voxels of a predicted and a reference mask overlap.
///
/// Source: pipeline specification 11.1.
public struct OverlapCounts: Equatable, Sendable {
  public var truePositives = 0
  public var falsePositives = 0
  public var falseNegatives = 0
  public var trueNegatives = 0

  public init() {}
  public init(truePositives: Int, falsePositives: Int, falseNegatives: Int, trueNegatives: Int) {
    self.truePositives = truePositives
    self.falsePositives = falsePositives
    self.falseNegatives = falseNegatives
    self.trueNegatives = trueNegatives
  }

  public var predicted: Int { truePositives + falsePositives }
  public var referenced: Int { truePositives + falseNegatives }
  /// 2 TP / (2 TP + FP + FN); NaN when neither mask has a voxel.
  public var dice: Double { ratio(2 * truePositives, 2 * truePositives + falsePositives + falseNegatives) }
  /// TP / (TP + FP + FN); NaN when neither mask has a voxel.
  public var iou: Double { ratio(truePositives, truePositives + falsePositives + falseNegatives) }

  private func ratio(_ part: Int, _ whole: Int) -> Double { whole == 0 ? .nan : Double(part) / Double(whole) }
}
