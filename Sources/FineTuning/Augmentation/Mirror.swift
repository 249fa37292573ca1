internal import Imaging
public import Platform
public import Tensors

/// Flips image and labels.
///
/// Source: pipeline specification 7.9.
public struct Mirror: Equatable, Sendable {
  /// Of each axis on its own.
  public var chance = 0.5
  /// Axes that may be flipped: rows change places (top and bottom), columns change places (left and right).
  public var allowsRows = true
  public var allowsColumns = true
  public init() {}

  public struct Parameters: Equatable, Sendable {
    public var rows: Bool
    public var columns: Bool
    public init(rows: Bool, columns: Bool) {
      self.rows = rows
      self.columns = columns
    }
  }

  public func draw(_ random: inout CounterRandom) -> Parameters? {
    let (first, second) = (random.chance(chance), random.chance(chance))
    let result = Parameters(rows: first && allowsRows, columns: second && allowsColumns)
    return result.rows || result.columns ? result : nil
  }

  func validate() throws(MedDINOError) { try OptionCheck.chance(chance, "mirror probability") }

  /// Shapes: float32 [channels, rows, columns], int16 [1, rows, columns]. Throws: `.shape`.
  public static func apply(_ parameters: Parameters, image: Tensor, labels: Tensor) throws(MedDINOError) {
    let (planes, plane) = (try ImagePlanes(image), try LabelPlane(labels))
    for channel in 0..<planes.channels { flip(planes.plane(channel), planes.rows, planes.columns, parameters) }
    flip(plane.values, plane.rows, plane.columns, parameters)
    withExtendedLifetime((image, labels)) {}
  }

  @inline(__always)
  private static func flip<Value: BitwiseCopyable>(
    _ plane: UnsafeMutablePointer<Value>, _ rows: Int, _ columns: Int, _ parameters: Parameters
  ) {
    if parameters.rows {
      for row in 0..<rows / 2 {
        let (upper, lower) = (plane + row * columns, plane + (rows - 1 - row) * columns)
        for column in 0..<columns { (upper[column], lower[column]) = (lower[column], upper[column]) }
      }
    }
    if parameters.columns {
      for row in 0..<rows {
        var (left, right) = (plane + row * columns, plane + (row + 1) * columns - 1)
        while left < right {
          (left.pointee, right.pointee) = (right.pointee, left.pointee)
          left += 1
          right -= 1
        }
      }
    }
  }
}
