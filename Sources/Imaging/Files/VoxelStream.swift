internal import Platform
internal import Tensors

/// Hands out the voxels of any strided volume packed, in the order and type of a file.
struct VoxelStream {
  enum Order {
    /// x fastest, then y, z, channel.
    case planar
    /// Channel fastest, then x, y, z.
    case interleaved
  }
  let volume: Volume
  let order: Order
  /// What is handed out: bool as uint8, float16 and bfloat16 as float32, scaled values as float32 or, from wider types, float64.
  let dtype: DType
  private let isScaled: Bool
  private let chunk = 1 << 16

  /// `appliesScaling`: values instead of stored ones, for formats without slope and intercept.
  init(_ volume: Volume, _ order: Order = .planar, appliesScaling: Bool = false) {
    self.volume = volume
    self.order = order
    isScaled = appliesScaling && (volume.slope != 1 || volume.intercept != 0)
    switch volume.dtype {
    case .bool, .uint8: dtype = isScaled ? .float32 : .uint8
    case .int8, .int16, .uint16: dtype = isScaled ? .float32 : volume.dtype
    case .float16, .bfloat16, .float32: dtype = .float32
    case .int32, .uint32, .int64, .uint64, .float64: dtype = isScaled ? .float64 : volume.dtype
    }
  }

  typealias Put = (UnsafeRawBufferPointer) throws(MedDINOError) -> Void

  func run(_ control: RunControl?, _ put: Put) throws(MedDINOError) {
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: max(chunk, volume.channels) * 8, alignment: 64)
    defer { scratch.deallocate() }
    let d = volume.geometry.dims
    let passes = order == .planar ? volume.channels : 1
    for pass in 0..<passes {
      let channels = order == .planar ? pass..<pass + 1 : 0..<volume.channels
      for z in 0..<d[2] {
        for y in 0..<d[1] { try line(y, z, channels, scratch, put) }
        try control?.update(Double(pass * d[2] + z + 1) / Double(passes * d[2]))
      }
    }
  }

  private func line(
    _ y: Int, _ z: Int, _ channels: Range<Int>, _ scratch: UnsafeMutableRawBufferPointer, _ put: Put
  ) throws(MedDINOError) {
    let (size, width) = (dtype.byteCount, volume.geometry.dims[0])
    let isSame = !isScaled && size == volume.dtype.byteCount
    if isSame, volume.strides[0] == size * channels.count, channels.count == 1 || volume.channelStride == size {
      try put(UnsafeRawBufferPointer(start: volume.address(0, y, z, channel: channels.lowerBound), count: width * size * channels.count))
      return
    }
    let step = max(1, chunk / channels.count)
    var x = 0
    while x < width {
      let count = min(step, width - x)
      for (place, channel) in channels.enumerated() {
        let target = UnsafeMutableRawBufferPointer(rebasing: scratch[(place * size)...])
        gather(volume.address(x, y, z, channel: channel), count, target, step: channels.count * size, isSame)
      }
      try put(UnsafeRawBufferPointer(rebasing: scratch[..<(count * channels.count * size)]))
      x += count
    }
  }

  private func gather(_ line: UnsafeRawPointer, _ count: Int, _ out: UnsafeMutableRawBufferPointer, step: Int, _ isSame: Bool) {
    let stride = volume.strides[0]
    func copy<T: BitwiseCopyable>(_: T.Type) {
      for i in 0..<count { out.storeBytes(of: (line + i * stride).loadUnaligned(as: T.self), toByteOffset: i * step, as: T.self) }
    }
    func convert<T: BitwiseCopyable>(_ value: (Double) -> T) {
      let (slope, intercept) = isScaled ? (volume.slope, volume.intercept) : (1, 0)
      for i in 0..<count {
        let stored = (line + i * stride).loadElement(volume.dtype, 0)
        out.storeBytes(of: value(isScaled ? stored * slope + intercept : stored), toByteOffset: i * step, as: T.self)
      }
    }
    guard isSame else { return dtype == .float64 ? convert { $0 } : convert { Float($0) } }
    switch dtype.byteCount {
    case 1: copy(UInt8.self)
    case 2: copy(UInt16.self)
    case 4: copy(UInt32.self)
    default: copy(UInt64.self)
    }
  }
}
