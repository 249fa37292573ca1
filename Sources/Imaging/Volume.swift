public import Platform
public import Tensors

/// A voxel grid of one or more channels: either our own buffer or a view of the host's memory.
///
/// Values are `slope * stored + intercept` (1 and 0 unless a file says otherwise). Strides are in bytes and may be
/// negative; `base` is voxel (0, 0, 0) of channel 0. `owner` keeps the memory alive; nil for a borrowed view.
public struct Volume: @unchecked Sendable {
  public var dtype: DType
  public var channels: Int
  public var geometry: Geometry
  public var base: UnsafeRawPointer
  public var strides: [Int]
  public var channelStride: Int
  public var slope: Double
  public var intercept: Double
  public var owner: AnyObject?
  /// A two-dimensional file: z = 1, its slice spacing is a stand-in (999 times the larger in-plane one), written as 2D
  /// again.
  public var isPlane = false
  /// The axes were turned to the closest RAS order when it was read. Doing so again would change some strongly oblique grids: which world
  /// axis a grid axis takes depends on the order in which the grid axes are asked.
  public var isReoriented = false

  public init(
    dtype: DType, channels: Int, geometry: Geometry, base: UnsafeRawPointer, strides: [Int], channelStride: Int,
    slope: Double = 1, intercept: Double = 0, owner: AnyObject? = nil
  ) {
    self.dtype = dtype
    self.channels = channels
    self.geometry = geometry
    self.base = base
    self.strides = strides
    self.channelStride = channelStride
    self.slope = slope
    self.intercept = intercept
    self.owner = owner
  }

  /// A new, packed, uninitialised volume of ours (x fastest, then y, z, channel).
  /// Throws: `.outOfMemory`, `.format` when the size does not fit.
  public init(allocating dtype: DType, channels: Int = 1, geometry: Geometry, in budget: MemoryBudget, _ purpose: String = "volume")
    throws(MedDINOError)
  {
    let d = geometry.dims
    let bytes = try Checked.product([dtype.byteCount, d[0], d[1], d[2], channels], purpose)
    let buffer = try budget.allocate(bytes, purpose)
    let size = dtype.byteCount
    self.init(
      dtype: dtype, channels: channels, geometry: geometry, base: UnsafeRawPointer(buffer.pointer),
      strides: [size, size * d[0], size * d[0] * d[1]], channelStride: size * d[0] * d[1] * d[2], owner: buffer)
  }

  /// The memory of a volume that we allocated, for filling it.
  public var mutableBase: UnsafeMutableRawPointer { UnsafeMutableRawPointer(mutating: base) }

  public func address(_ x: Int, _ y: Int, _ z: Int, channel: Int = 0) -> UnsafeRawPointer {
    base + (x * strides[0] + y * strides[1] + z * strides[2] + channel * channelStride)
  }

  /// One voxel's value with slope and intercept applied.
  public func value(_ x: Int, _ y: Int, _ z: Int, channel: Int = 0) -> Double {
    let stored = address(x, y, z, channel: channel).loadElement(dtype, 0)
    return slope == 1 && intercept == 0 ? stored : stored * slope + intercept
  }

  /// The plane `axis = index`, rows along `rowAxis` and columns along `columnAxis`, as float32 into `out`
  /// (row-major, rows × columns of the two axes' extents, restricted to the given ranges).
  public func readPlane(
    axis: Int, index: Int, rowAxis: Int, rows: Range<Int>, columnAxis: Int, columns: Range<Int>, channel: Int,
    into out: UnsafeMutablePointer<Float>
  ) {
    let start = base + index * strides[axis] + channel * channelStride
    for (r, row) in rows.enumerated() {
      let line = start + row * strides[rowAxis] + columns.lowerBound * strides[columnAxis]
      readLine(line, stride: strides[columnAxis], count: columns.count, into: out + r * columns.count)
    }
  }

  private func readLine(_ line: UnsafeRawPointer, stride: Int, count: Int, into out: UnsafeMutablePointer<Float>) {
    switch dtype {
    case .float32: convert(line, stride, count, out, Float.self) { Double($0) }
    case .float64: convert(line, stride, count, out, Double.self) { $0 }
    case .float16: convert(line, stride, count, out, UInt16.self) { Double(floatFromFloat16($0)) }
    case .bfloat16: convert(line, stride, count, out, UInt16.self) { Double(floatFromBFloat16($0)) }
    case .int64: convert(line, stride, count, out, Int64.self) { Double($0) }
    case .int32: convert(line, stride, count, out, Int32.self) { Double($0) }
    case .int16: convert(line, stride, count, out, Int16.self) { Double($0) }
    case .int8: convert(line, stride, count, out, Int8.self) { Double($0) }
    case .uint64: convert(line, stride, count, out, UInt64.self) { Double($0) }
    case .uint32: convert(line, stride, count, out, UInt32.self) { Double($0) }
    case .uint16: convert(line, stride, count, out, UInt16.self) { Double($0) }
    case .uint8, .bool: convert(line, stride, count, out, UInt8.self) { Double($0) }
    }
  }

  @inline(__always)
  private func convert<T: BitwiseCopyable>(
    _ line: UnsafeRawPointer, _ stride: Int, _ count: Int, _ out: UnsafeMutablePointer<Float>, _: T.Type, _ widen: (T) -> Double
  ) {
    if slope == 1, intercept == 0 {
      for i in 0..<count { out[i] = Float(widen((line + i * stride).loadUnaligned(as: T.self))) }
    } else {
      for i in 0..<count { out[i] = Float(widen((line + i * stride).loadUnaligned(as: T.self)) * slope + intercept) }
    }
  }
}
