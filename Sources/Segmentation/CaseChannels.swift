public import Imaging
public import Platform

/// The voxel grid of a case in the axis order of the plan: axis 0 counts slices, axes 1 and 2 are the rows and columns of a slice.
///
/// Source: pipeline specification 1.4 (arrays are z, y, x), 4.1.
public struct CaseGrid: Equatable, Sendable {
  /// Axis i of the case is axis `axes[i]` of the volume (0 = x, 1 = y, 2 = z).
  public let axes: [Int]
  public let shape: [Int]
  /// Units: mm.
  public let spacing: [Double]

  /// Throws: `.shape` for an empty grid, `.invalid` for a spacing that is no length.
  public init(_ geometry: Geometry, transposeForward: [Int]) throws(MedDINOError) {
    guard geometry.dims.count == 3, geometry.dims.allSatisfy({ $0 > 0 }) else {
      throw .shape("image has dims \(geometry.dims), expected three of at least 1")
    }
    guard geometry.spacing.count == 3, geometry.spacing.allSatisfy({ $0 > 0 && $0.isFinite }) else {
      throw .invalid("image has spacing \(geometry.spacing), expected three lengths above 0 mm")
    }
    _ = try Checked.product(geometry.dims, "image", kind: .shape)
    let axes = transposeForward.map { 2 - $0 }
    self.axes = axes
    shape = axes.map { geometry.dims[$0] }
    spacing = axes.map { geometry.spacing[$0] }
  }

  /// A box given along x, y, z in the order of the case.
  public func box(_ box: VoxelBox) -> CaseBox { CaseBox(axes.map { box.lower[$0]..<max(box.lower[$0], box.upper[$0]) }) }
}

/// The input channels of one case: views of volumes on one grid.
public struct CaseChannels: Sendable {
  public struct Channel: Sendable {
    public let volume: Volume
    public let index: Int
  }
  public let channels: [Channel]
  public let geometry: Geometry
  public let grid: CaseGrid

  /// A volume with several channels counts as several.
  /// Throws: `.shape` when the number of channels or their grids differ from what is expected, `.invalid` for spacings.
  public init(_ volumes: [Volume], count: Int, transposeForward: [Int]) throws(MedDINOError) {
    guard let first = volumes.first else { throw .shape("image has no channels, expected \(count)") }
    var channels: [Channel] = []
    for volume in volumes {
      guard volume.geometry.dims == first.geometry.dims else {
        throw .shape("channel \(channels.count) has dims \(volume.geometry.dims), expected those of channel 0: \(first.geometry.dims)")
      }
      for (a, b) in zip(volume.geometry.spacing, first.geometry.spacing) where (a - b).magnitude > 1e-4 * b.magnitude {
        throw .invalid(
          "channel \(channels.count) has spacing \(volume.geometry.spacing), expected that of channel 0: \(first.geometry.spacing)")
      }
      guard volume.channels > 0, volume.channels <= 1024 else { throw .shape("channel count \(volume.channels), expected 1 to 1024") }
      for index in 0..<volume.channels { channels.append(Channel(volume: volume, index: index)) }
    }
    guard channels.count == count else { throw .shape("image has \(channels.count) channels, the model expects \(count)") }
    self.channels = channels
    geometry = first.geometry
    grid = try CaseGrid(first.geometry, transposeForward: transposeForward)
  }

  /// Slice `slice` of a channel as float32 [rows, columns], restricted to the ranges.
  func readPlane(channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    let source = channels[channel]
    source.volume.readPlane(
      axis: grid.axes[0], index: slice, rowAxis: grid.axes[1], rows: rows, columnAxis: grid.axes[2], columns: columns,
      channel: source.index, into: out)
  }
}
