public import Platform

/// A dense, contiguous, row-major array in a buffer of a `MemoryBudget`.
///
/// A value that shares its storage: copying the struct does not copy elements. Writers hold the only reference by convention
/// (a freshly made tensor); everything handed on is read-only. The pointers that `bytes`, `floats` and `elements` give do not keep
/// the memory alive: hold the tensor (a parameter, a stored property, `withExtendedLifetime`) for as long as they are used.
public struct Tensor: Sendable {
  public let shape: Shape
  public let dtype: DType
  public let buffer: Buffer
  public let byteOffset: Int

  /// Uninitialised elements. Throws: `.outOfMemory`, `.format` when the size does not fit.
  public init(_ shape: Shape, _ dtype: DType = .float32, in budget: MemoryBudget, _ purpose: String = "tensor") throws(MedDINOError) {
    let count = try shape.checkedCount(purpose)
    let bytes = try Checked.product([count, dtype.byteCount], purpose)
    self.init(shape, dtype, buffer: try budget.allocate(bytes, purpose), byteOffset: 0)
  }

  /// A view of an existing buffer that is known to be large enough.
  public init(_ shape: Shape, _ dtype: DType, buffer: Buffer, byteOffset: Int) {
    precondition(byteOffset >= 0 && byteOffset + shape.count * dtype.byteCount <= buffer.byteCount)
    self.shape = shape
    self.dtype = dtype
    self.buffer = buffer
    self.byteOffset = byteOffset
  }

  public init(_ values: [Float], _ shape: Shape, in budget: MemoryBudget, _ purpose: String = "tensor") throws(MedDINOError) {
    precondition(values.count == shape.count)
    try self.init(shape, .float32, in: budget, purpose)
    _ = floats.initialize(from: values)
  }

  public var count: Int { shape.count }
  public var byteCount: Int { count * dtype.byteCount }
  public var pointer: UnsafeMutableRawPointer { buffer.pointer + byteOffset }
  public var bytes: UnsafeMutableRawBufferPointer { .init(start: pointer, count: byteCount) }
  /// The elements of a float32 tensor.
  public var floats: UnsafeMutableBufferPointer<Float> {
    precondition(dtype == .float32)
    return elements(Float.self)
  }
  public func elements<T: BitwiseCopyable>(_ type: T.Type) -> UnsafeMutableBufferPointer<T> {
    precondition(MemoryLayout<T>.size == dtype.byteCount)
    return .init(start: pointer.bindMemory(to: type, capacity: count), count: count)
  }

  /// The same elements under another shape of equal count.
  public func reshaped(_ shape: Shape) -> Tensor {
    precondition(shape.count == count)
    return Tensor(shape, dtype, buffer: buffer, byteOffset: byteOffset)
  }

  /// Rows [begin, end) of the outermost axis, sharing storage.
  public func rows(_ range: Range<Int>) -> Tensor {
    precondition(range.lowerBound >= 0 && range.upperBound <= shape[0])
    let stride = count / max(shape[0], 1) * dtype.byteCount
    return Tensor(
      Shape([range.count] + shape.extents.dropFirst()), dtype, buffer: buffer, byteOffset: byteOffset + range.lowerBound * stride)
  }

  /// Copies the elements of a tensor of the same type and count.
  public func copy(from other: Tensor) {
    precondition(dtype == other.dtype && count == other.count)
    withExtendedLifetime(other.buffer) { bytes.copyMemory(from: UnsafeRawBufferPointer(other.bytes)) }
  }

  /// The elements of a float32 tensor as an array; for small tensors and tests.
  public func floatArray() -> [Float] { withExtendedLifetime(buffer) { Array(floats) } }

  /// Element `index` as Double, whatever the type; for tests and small reads.
  public func value(_ index: Int) -> Double { withExtendedLifetime(buffer) { pointer.loadElement(dtype, index) } }

  /// A float32 copy (or the tensor itself when it is float32 already).
  public func asFloat32(in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    if dtype == .float32 { return self }
    let result = try Tensor(shape, .float32, in: budget, "float32 copy")
    let out = result.floats
    switch dtype {
    case .bfloat16:
      let from = elements(UInt16.self)
      for index in 0..<count { out[index] = floatFromBFloat16(from[index]) }
    case .float16:
      let from = elements(UInt16.self)
      for index in 0..<count { out[index] = floatFromFloat16(from[index]) }
    default:
      for index in 0..<count { out[index] = Float(pointer.loadElement(dtype, index)) }
    }
    withExtendedLifetime(buffer) {}
    return result
  }
}

extension UnsafeRawPointer {
  /// Element `index` of an array of `dtype` that starts here (alignment not needed), as Double.
  public func loadElement(_ dtype: DType, _ index: Int) -> Double {
    let at = index * dtype.byteCount
    switch dtype {
    case .float64: return loadUnaligned(fromByteOffset: at, as: Double.self)
    case .float32: return Double(loadUnaligned(fromByteOffset: at, as: Float.self))
    case .float16: return Double(floatFromFloat16(loadUnaligned(fromByteOffset: at, as: UInt16.self)))
    case .bfloat16: return Double(floatFromBFloat16(loadUnaligned(fromByteOffset: at, as: UInt16.self)))
    case .int64: return Double(loadUnaligned(fromByteOffset: at, as: Int64.self))
    case .int32: return Double(loadUnaligned(fromByteOffset: at, as: Int32.self))
    case .int16: return Double(loadUnaligned(fromByteOffset: at, as: Int16.self))
    case .int8: return Double(loadUnaligned(fromByteOffset: at, as: Int8.self))
    case .uint64: return Double(loadUnaligned(fromByteOffset: at, as: UInt64.self))
    case .uint32: return Double(loadUnaligned(fromByteOffset: at, as: UInt32.self))
    case .uint16: return Double(loadUnaligned(fromByteOffset: at, as: UInt16.self))
    case .uint8, .bool: return Double(loadUnaligned(fromByteOffset: at, as: UInt8.self))
    }
  }
}
extension UnsafeMutableRawPointer {
  public func loadElement(_ dtype: DType, _ index: Int) -> Double { UnsafeRawPointer(self).loadElement(dtype, index) }
}
