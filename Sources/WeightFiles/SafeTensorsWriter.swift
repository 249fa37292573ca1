public import Platform
public import Tensors

/// Writes a safetensors file, whole or not at all.
public enum SafeTensorsWriter {
  /// What a file will hold: names, types and shapes are needed before any data.
  public struct Item {
    public let name: String
    public let dtype: DType
    public let shape: Shape
    public init(name: String, dtype: DType, shape: Shape) {
      self.name = name
      self.dtype = dtype
      self.shape = shape
    }
  }

  /// Tensors are asked for one at a time, in order, so that a model larger than memory can be written.
  /// Throws: `.io`, `.outOfMemory`, and what `load` throws; an earlier file at the path is then unchanged.
  public static func write(
    _ items: [Item], metadata: [(String, String)], to path: String, load: (Item) throws(MedDINOError) -> Tensor
  ) throws(MedDINOError) {
    let file = try AtomicFile(path)
    try file.write(header(items, metadata))
    for item in items {
      let tensor = try load(item)
      guard tensor.shape == item.shape, tensor.dtype == item.dtype else {
        throw MedDINOError(.internal, "\(item.name) has shape \(tensor.shape), \(item.shape) was announced")
      }
      try file.write(UnsafeRawBufferPointer(tensor.bytes))
      withExtendedLifetime(tensor) {}
    }
    try file.commit()
  }

  public static func write(_ tensors: [(String, Tensor)], metadata: [(String, String)] = [], to path: String) throws(MedDINOError) {
    let items = tensors.map { Item(name: $0.0, dtype: $0.1.dtype, shape: $0.1.shape) }
    var index = 0
    try write(items, metadata: metadata, to: path) { (_) throws(MedDINOError) in
      index += 1
      return tensors[index - 1].1
    }
  }

  private static func header(_ items: [Item], _ metadata: [(String, String)]) -> [UInt8] {
    var object = JSONObject()
    if !metadata.isEmpty { object["__metadata__"] = .object(JSONObject(metadata.map { ($0.0, .string($0.1)) })) }
    var offset = 0
    for item in items {
      let end = offset + item.shape.count * item.dtype.byteCount
      let code = safeTensorsTypes.first { $0.value == item.dtype }?.key ?? "F32"
      object[item.name] = .object(
        ("dtype", .string(code)), ("shape", .integers(item.shape.extents)), ("data_offsets", .integers([offset, end])))
      offset = end
    }
    var text = Array(JSON.object(object).text().utf8)
    while text.count % 8 != 0 { text.append(32) }
    let length = UInt64(text.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + text
  }
}
