internal import CMedDINO
internal import Imaging
internal import Platform
internal import Tensors

/// A caller's array, checked; its elements are copied out by value, wherever they lie.
struct TensorView {
  let name: String
  let dtype: DType
  let shape: [Int]
  private let strides: [Int]
  private let base: UnsafeRawPointer

  /// Throws: `.invalid`, `.shape` naming `name` and the field.
  init(_ pointer: UnsafePointer<meddino_tensor>?, _ name: String) throws(MedDINOError) {
    let t = try read(pointer, name, defaults: meddino_tensor())
    guard let dtype = elementType(t.dtype) else { throw .invalid("\(name).dtype is \(t.dtype), expected a MEDDINO_ type") }
    guard (1...8).contains(t.ndim) else { throw .invalid("\(name).ndim is \(t.ndim), expected 1 to 8") }
    let (s, b) = (t.shape, t.strides)
    let shape = [s.0, s.1, s.2, s.3, s.4, s.5, s.6, s.7].prefix(Int(t.ndim)).map { Int($0) }
    guard shape.allSatisfy({ $0 > 0 }) else { throw .shape("\(name).shape is \(shape), expected extents above 0") }
    guard let data = t.data else { throw .invalid("\(name).data is NULL") }
    guard t.data_bytes >= 0 else { throw .invalid("\(name).data_bytes is \(t.data_bytes), which is no size") }
    var strides = [b.0, b.1, b.2, b.3, b.4, b.5, b.6, b.7].prefix(Int(t.ndim)).map { Int($0) }
    if strides.allSatisfy({ $0 == 0 }) {
      var step = dtype.byteCount
      for axis in shape.indices.reversed() {
        strides[axis] = step
        step = try Checked.product([step, shape[axis]], "\(name).shape", kind: .invalid)
      }
    }
    let reach = try Self.reach(shape, strides, name)
    guard reach <= t.data_bytes - dtype.byteCount else {
      throw .invalid("\(name).data_bytes is \(t.data_bytes), the shape and strides reach over \(reach) bytes and one element")
    }
    self.name = name
    self.dtype = dtype
    self.shape = shape
    self.strides = strides
    base = data
  }

  /// Bytes from the lowest to the highest element. Throws: `.invalid` when that does not fit in 64 bits.
  private static func reach(_ shape: [Int], _ strides: [Int], _ name: String) throws(MedDINOError) -> Int {
    var total = 0
    for (extent, stride) in zip(shape, strides) {
      guard stride != .min else { throw .invalid("\(name).strides hold \(stride), which no buffer has") }
      let part = try Checked.product([extent - 1, abs(stride)], "\(name).strides", kind: .invalid)
      total = try Checked.sum(total, part, "\(name).strides", kind: .invalid)
    }
    return total
  }

  /// A packed float32 copy. Throws: `.invalid` for another type, `.outOfMemory`.
  func floats(in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard dtype == .float32 else { throw .invalid("\(name).dtype is \(dtype.rawValue), expected MEDDINO_F32") }
    let result = try Tensor(Shape(shape), in: budget, name)
    let out = result.elements(Float.self)
    each(Float.self) { index, value in out[index] = value }
    withExtendedLifetime(result) {}
    return result
  }

  /// A packed int16 copy in another shape of as many elements.
  /// Throws: `.invalid` for a value that is no whole number of 16 bits, `.outOfMemory`.
  func labels(_ wanted: [Int], in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let result = try Tensor(Shape(wanted), .int16, in: budget, name)
    let out = result.elements(Int16.self)
    var fault: String?
    func convert<T: BinaryInteger & BitwiseCopyable>(_ type: T.Type) {
      each(type) { index, value in
        if let whole = Int16(exactly: value) { out[index] = whole } else { fault = "\(value)" }
      }
    }
    switch dtype {
    case .uint8, .bool: convert(UInt8.self)
    case .int8: convert(Int8.self)
    case .uint16: convert(UInt16.self)
    case .int16: convert(Int16.self)
    case .uint32: convert(UInt32.self)
    case .int32: convert(Int32.self)
    case .uint64: convert(UInt64.self)
    case .int64: convert(Int64.self)
    case .float32:
      each(Float.self) { index, value in
        if let whole = Int16(exactly: value) { out[index] = whole } else { fault = "\(value)" }
      }
    default: throw .invalid("\(name).dtype is \(dtype.rawValue), expected an integer type or MEDDINO_F32")
    }
    withExtendedLifetime(result) {}
    if let fault { throw .invalid("\(name) hold the value \(fault), expected label values") }
    return result
  }

  /// Every element in row-major order. Callers' arrays need not be aligned.
  private func each<T: BitwiseCopyable>(_ type: T.Type, _ body: (Int, T) -> Void) {
    let (extent, stride) = (shape[shape.count - 1], strides[shape.count - 1])
    let rows = shape.dropLast().reduce(1, *)
    var place = [Int](repeating: 0, count: shape.count - 1)
    var start = 0
    for row in 0..<rows {
      for column in 0..<extent { body(row * extent + column, base.loadUnaligned(fromByteOffset: start + column * stride, as: type)) }
      for axis in place.indices.reversed() {
        place[axis] += 1
        start += strides[axis]
        if place[axis] < shape[axis] { break }
        start -= shape[axis] * strides[axis]
        place[axis] = 0
      }
    }
  }
}
