public import Platform
public import Tensors

/// Checks of what callers and files say about a volume, before any arithmetic relies on it.
public enum VolumeCheck {
  /// Directions whose columns, scaled to length 1, span less volume than this count as linearly dependent. A
  /// right-angled grid spans 1, a gantry tilt of 30 degrees 0.87.
  public static let smallestDeterminant = 0.01

  /// Extents in 1...2147483647, spacing finite and positive, origin and direction finite, three independent axes.
  /// Shear and left-handed axes are allowed: every mapping goes through the full matrix.
  /// Throws: `.invalid`, naming the field.
  public static func geometry(_ geometry: Geometry) throws(MedDINOError) {
    let lengths = [geometry.dims.count, geometry.spacing.count, geometry.origin.count, geometry.direction.count]
    guard lengths == [3, 3, 3, 9] else {
      throw .invalid("geometry has \(lengths) values of dims, spacing, origin and direction, expected [3, 3, 3, 9]")
    }
    for axis in 0..<3 {
      guard (1...Int(Int32.max)).contains(geometry.dims[axis]) else {
        throw .invalid("dims[\(axis)] is \(geometry.dims[axis]), expected 1...2147483647")
      }
      let spacing = geometry.spacing[axis]
      guard spacing.isFinite, spacing > 0 else {
        throw .invalid("spacing[\(axis)] is \(spacing), expected a positive number of mm")
      }
      guard geometry.origin[axis].isFinite else {
        throw .invalid("origin[\(axis)] is \(geometry.origin[axis]), expected a finite number of mm")
      }
    }
    guard geometry.direction.allSatisfy({ $0.isFinite }) else {
      throw .invalid("direction is \(geometry.direction), expected nine finite numbers")
    }
    let determinant = Matrix3(geometry.direction).normalizedColumns?.determinant ?? 0
    guard determinant.magnitude >= smallestDeterminant else {
      throw .invalid("direction has determinant \(determinant), expected three independent axes (row-major, columns = axes)")
    }
  }

  /// The bytes that strided voxels reach, relative to voxel (0, 0, 0) of channel 0: from the lowest to past the
  /// highest.
  ///
  /// Throws: `.invalid` when extents, channels or strides are out of range or the product does not fit in 64 bits.
  public static func extent(
    dtype: DType, dims: [Int], channels: Int, strides: [Int], channelStride: Int
  ) throws(MedDINOError) -> Range<Int> {
    guard dims.count == 3, strides.count == 3, dims.allSatisfy({ (1...Int(Int32.max)).contains($0) }) else {
      throw .invalid("dims is \(dims), expected three values in 1...2147483647")
    }
    guard (1...65536).contains(channels) else { throw .invalid("channels is \(channels), expected 1...65536") }
    var (low, high) = (0, 0)
    for (count, stride) in zip(dims + [channels], strides + [channelStride]) {
      let (reach, overflow) = (count - 1).multipliedReportingOverflow(by: stride)
      let (sum, carry) = reach < 0 ? low.addingReportingOverflow(reach) : high.addingReportingOverflow(reach)
      guard !overflow, !carry else { throw .invalid("strides \(strides) times dims \(dims) do not fit in 64 bits") }
      if reach < 0 { low = sum } else { high = sum }
    }
    let end = try Checked.sum(high, dtype.byteCount, "strides", kind: .invalid)
    guard !end.subtractingReportingOverflow(low).overflow else { throw .invalid("strides \(strides) do not fit in 64 bits") }
    return low..<end
  }

  /// Checks a host's view: the bytes from the lowest to the highest voxel must not be more than `dataBytes`.
  /// Throws: `.invalid`.
  public static func view(_ volume: Volume, dataBytes: Int) throws(MedDINOError) {
    try geometry(volume.geometry)
    let range = try extent(
      dtype: volume.dtype, dims: volume.geometry.dims, channels: volume.channels, strides: volume.strides,
      channelStride: volume.channelStride)
    guard range.count <= dataBytes else {
      throw .invalid("data_bytes is \(dataBytes), the voxels reach over \(range.count) bytes")
    }
  }
}
