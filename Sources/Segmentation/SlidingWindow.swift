public import Platform

/// Where tiles lie on a slice: padding up to the patch size, and evenly spread start positions per axis.
///
/// Source: pipeline specification 10.2, 10.3.
public struct SlidingWindow: Equatable, Sendable {
  /// One image axis: its extent, the padding around it, and where tiles start on the padded axis.
  public struct Axis: Equatable, Sendable {
    public let size: Int
    public let tile: Int
    /// Zeros put before the image; the rest of the missing ones come after it.
    public let padLow: Int
    public let paddedSize: Int
    public let starts: [Int]
  }
  public let rows: Axis
  public let columns: Axis

  /// `step` is the distance of neighbouring tiles as a part of the tile.
  /// Throws: `.invalid` for a step outside (0, 1] or below one pixel, `.shape` for an empty image or tile.
  public init(rows: Int, columns: Int, tileRows: Int, tileColumns: Int, step: Double) throws(MedDINOError) {
    self.rows = try Self.axis(size: rows, tile: tileRows, step: step)
    self.columns = try Self.axis(size: columns, tile: tileColumns, step: step)
  }

  public var tileCount: Int { rows.starts.count * columns.starts.count }

  /// Pads `size` to at least `tile` and spreads tiles over it.
  public static func axis(size: Int, tile: Int, step: Double) throws(MedDINOError) -> Axis {
    guard size > 0, tile > 0, size < 1 << 31, tile < 1 << 31 else {
      throw .shape("tiles of \(tile) pixels over \(size) pixels, expected both between 1 and 2147483647")
    }
    guard step > 0, step <= 1 else { throw .invalid("tile_step is \(step), expected above 0 and at most 1") }
    let target = Double(tile) * step
    guard target >= 1 || size <= tile else {
      throw .invalid("tile_step is \(step), which is less than a pixel of a tile of \(tile)")
    }
    let padded = max(size, tile)
    let low = (padded - size) / 2
    let room = Double(padded - tile)
    let count = Int((room / max(target, 1)).rounded(.up)) + 1
    guard count <= 1 << 20 else { throw .shape("\(count) tiles along one axis, expected at most 1048576") }
    guard count > 1 else { return Axis(size: size, tile: tile, padLow: low, paddedSize: padded, starts: [0]) }
    let actual = room / Double(count - 1)
    let starts = (0..<count).map { Int((actual * Double($0)).rounded(.toNearestOrEven)) }
    return Axis(size: size, tile: tile, padLow: low, paddedSize: padded, starts: starts)
  }
}

extension SlidingWindow.Axis {
  /// The tiles whose window holds at least one of the given image pixels (counted without padding).
  public func startsTouching(_ pixels: Range<Int>) -> [Int] {
    let first = pixels.lowerBound + padLow
    let end = pixels.upperBound + padLow
    return starts.filter { $0 < end && $0 + tile > first }
  }
}
