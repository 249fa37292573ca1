internal import Glibc
public import Platform

/// Sizes of the boxes that training cuts from slices, and where they may lie.
///
/// Shapes: all sizes are [rows, columns]. Source: pipeline specification 6.
public struct PatchGeometry: Equatable, Sendable {
  /// What the network sees.
  public let patch: [Int]
  /// What is cut from a slice: larger than the patch where a rotation may need the surroundings.
  public let loaderPatch: [Int]
  /// How much of a box may lie outside the slice even when the slice is large enough.
  public let padding: [Int]

  /// Longest to shortest side of a patch up to which any rotation is allowed.
  private static let squareEnough = 1.5
  /// The smallest zoom that the surroundings are cut for, whatever the zoom drawn later.
  private static let smallestScale = 0.85
  /// Larger patches are refused: nothing in the field comes near, and squares of sides stay far from overflow.
  static let sideLimit = 1 << 17

  /// The official rotation of a patch: any angle when it is nearly square, else 15 degrees either way. Units: radians.
  public static func rotation(_ patch: [Int]) -> ClosedRange<Double> {
    let (long, short) = (patch.max() ?? 1, patch.min() ?? 1)
    let limit = Double(long) / Double(max(short, 1)) <= squareEnough ? Double.pi : 15 * Double.pi / 180
    return -limit...limit
  }

  /// What has to be cut so that a patch turned by any angle of `rotation` finds image everywhere (nearly).
  public static func initialPatch(_ patch: [Int], rotation: ClosedRange<Double>) -> [Int] {
    let angle = min(max(abs(rotation.lowerBound), abs(rotation.upperBound)), Double.pi / 2)
    let (height, width) = (Double(patch[0]), Double(patch[1]))
    let turned = [abs(height * cos(angle) + width * sin(angle)), abs(width * cos(angle) - height * sin(angle))]
    return zip(turned, patch).map { Int(max($0, Double($1)) / smallestScale) }
  }

  /// Of training: the surroundings are cut too. `rotation` nil: the official one.
  /// Throws: `.invalid` for a patch that is not two sides from 1 to 131072.
  public static func training(_ patch: [Int], rotation: ClosedRange<Double>? = nil) throws(MedDINOError) -> PatchGeometry {
    try check(patch, "patch size")
    return try PatchGeometry(patch: patch, loaderPatch: initialPatch(patch, rotation: rotation ?? self.rotation(patch)))
  }

  /// Of validation: the patch itself, which leaves the slice only when the slice is smaller.
  /// Throws: as `training`.
  public static func validation(_ patch: [Int]) throws(MedDINOError) -> PatchGeometry {
    try PatchGeometry(patch: patch, loaderPatch: patch)
  }

  /// Throws: `.invalid` for sides outside 1 to 131072 or a loader's patch smaller than the patch.
  public init(patch: [Int], loaderPatch: [Int]) throws(MedDINOError) {
    try Self.check(patch, "patch size")
    try Self.check(loaderPatch, "loader patch size")
    guard loaderPatch[0] >= patch[0], loaderPatch[1] >= patch[1] else {
      throw .invalid("loader patch size is \(loaderPatch), expected at least the patch size \(patch)")
    }
    self.patch = patch
    self.loaderPatch = loaderPatch
    padding = zip(loaderPatch, patch).map(-)
  }

  private static func check(_ patch: [Int], _ name: String) throws(MedDINOError) {
    guard patch.count == 2, patch.allSatisfy({ (1...sideLimit).contains($0) }) else {
      throw .invalid("\(name) is \(patch), expected two sides from 1 to \(sideLimit)")
    }
  }

  /// Where a random box may start along `axis` (0 rows, 1 columns) of a slice of `size` pixels.
  public func starts(axis: Int, size: Int) -> ClosedRange<Int> {
    let pad = max(padding[axis], loaderPatch[axis] - size)
    return -((pad + 1) / 2)...size + (pad + 1) / 2 - loaderPatch[axis]
  }

  /// The start of a box with the pixel `place` in its middle. Bounded from below only, as in the official loader: it may stick out at
  /// the far side.
  public func start(axis: Int, size: Int, around place: Int) -> Int {
    max(starts(axis: axis, size: size).lowerBound, Self.range(around: place, size: loaderPatch[axis]).lowerBound)
  }

  /// The box of the loader's size that starts there.
  public func box(row: Int, column: Int) -> PatchBox {
    PatchBox(rows: row..<row + loaderPatch[0], columns: column..<column + loaderPatch[1])
  }

  /// The part of a loader's box that remains without rotation and zoom: its middle, of the patch's size.
  public func centre(_ box: PatchBox) -> PatchBox {
    func middle(_ range: Range<Int>, _ size: Int) -> Range<Int> {
      Self.range(around: range.lowerBound + range.count / 2, size: size)
    }
    return PatchBox(rows: middle(box.rows, patch[0]), columns: middle(box.columns, patch[1]))
  }

  /// `size` pixels with `place` in the middle, or just right of it.
  public static func range(around place: Int, size: Int) -> Range<Int> {
    let start = place - size / 2
    return start..<start + size
  }
}

/// A box of pixels of a slice; it may lie outside in part or as a whole.
public struct PatchBox: Equatable, Sendable {
  public var rows: Range<Int>
  public var columns: Range<Int>
  public init(rows: Range<Int>, columns: Range<Int>) {
    self.rows = rows
    self.columns = columns
  }
}
