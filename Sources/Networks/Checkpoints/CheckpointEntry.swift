public import Platform
public import Tensors

/// One tensor under its official name, not yet read: as stored, put together from several, or following from the layout.
public struct CheckpointEntry: Sendable {
  enum Piece: Sendable {
    case stored(String)
    case zeros(Int)
    /// Only beside pieces that are constant too.
    case ones(Int)
  }
  /// Official state-dict key (model specification 1.10, 3.1), without a network prefix for the encoder.
  public let name: String
  public let shape: Shape
  public let dtype: DType
  private let pieces: [Piece]
  private let source: any WeightSource

  /// `shape`: nil takes the stored one. Throws: `.format` when the pieces do not fill the shape.
  init(_ name: String, _ pieces: [Piece], shape: Shape? = nil, from source: any WeightSource) throws(MedDINOError) {
    self.name = name
    self.pieces = pieces
    self.source = source
    var count = 0
    var types: Set<DType> = []
    var single: Shape?
    for piece in pieces {
      switch piece {
      case .zeros(let length), .ones(let length): count = try Checked.sum(count, length, name)
      case .stored(let stored):
        guard let found = source.shape(of: stored), let type = source.dtype(of: stored) else {
          throw .format("\(source.label): no tensor \"\(stored)\"")
        }
        count = try Checked.sum(count, try found.checkedCount(stored), name)
        types.insert(type)
        single = found
      }
    }
    dtype = types.count == 1 ? types.first ?? .float32 : .float32
    self.shape = shape ?? single ?? [count]
    guard try self.shape.checkedCount(name) == count else {
      throw .format("\(source.label): the parts of \(name) have \(count) elements, its shape \(self.shape) needs others")
    }
  }

  /// The tensor in its stored type. Throws: `.outOfMemory`, `.io`, `.format`.
  public func load(in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    if pieces.count == 1, case .stored(let stored) = pieces[0] {
      let tensor = try source.tensor(stored, in: budget)
      guard tensor.count == shape.count else { throw .format("\(source.label): \"\(stored)\" has changed") }
      return tensor.reshaped(shape)
    }
    let result = try Tensor(shape, dtype, in: budget, name)
    var at = 0
    for piece in pieces {
      switch piece {
      case .zeros(let count):
        let end = at + count * dtype.byteCount
        for place in at..<end { result.bytes[place] = 0 }
        at = end
      case .ones(let count):
        let start = at / dtype.byteCount
        for index in start..<(start + count) { result.floats[index] = 1 }
        at += count * dtype.byteCount
      case .stored(let stored):
        let tensor = try source.tensor(stored, in: budget)
        let part = tensor.dtype == dtype ? tensor : try tensor.asFloat32(in: budget)
        guard part.dtype == dtype, part.byteCount <= result.byteCount - at else {
          throw .format("\(source.label): \"\(stored)\" has changed")
        }
        UnsafeMutableRawBufferPointer(rebasing: result.bytes[at...]).copyMemory(from: UnsafeRawBufferPointer(part.bytes))
        withExtendedLifetime(part) {}
        at += part.byteCount
      }
    }
    return result
  }
}
