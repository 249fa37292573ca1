public import Platform
public import Tensors

extension TorchArchive {
  /// The tensor in its stored type, row-major, whatever view of its storage it is.
  /// Throws: `.outOfMemory`, `.io`, `.format` when the file became shorter.
  public func tensor(_ reference: TorchTensor, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    let result = try Tensor(reference.shape, reference.dtype, in: budget, "tensor of \(source.name)")
    if result.count == 0 { return result }
    let size = reference.dtype.byteCount
    let start = reference.storageOffset + reference.offset * size
    if reference.isContiguous {
      try source.read(at: start, into: result.bytes)
    } else {
      var span = 1
      for (extent, stride) in zip(reference.shape.extents, reference.strides) { span += (extent - 1) * stride }
      let scratch = try budget.allocate(span * size, "storage of \(source.name)")
      try source.read(at: start, into: scratch.bytes)
      switch size {
      case 1: gather(scratch, reference, into: result, UInt8.self)
      case 2: gather(scratch, reference, into: result, UInt16.self)
      case 4: gather(scratch, reference, into: result, UInt32.self)
      default: gather(scratch, reference, into: result, UInt64.self)
      }
    }
    if isSwapped { swapBytes(result) }
    return result
  }

  /// Walks the view in row-major order, innermost axis as a plain loop.
  private func gather<T: BitwiseCopyable>(_ scratch: Buffer, _ reference: TorchTensor, into result: Tensor, _ type: T.Type) {
    guard let input = scratch.elements(type).baseAddress, let output = result.elements(type).baseAddress else { return }
    let extents = reference.shape.extents
    let inner = extents.last ?? 1
    let step = reference.strides.last ?? 0
    var index = [Int](repeating: 0, count: max(extents.count - 1, 0))
    var from = 0
    for row in 0..<(result.count / inner) {
      let target = output + row * inner
      for i in 0..<inner { target[i] = input[from + i * step] }
      var axis = index.count - 1
      while axis >= 0 {
        index[axis] += 1
        from += reference.strides[axis]
        if index[axis] < extents[axis] { break }
        from -= index[axis] * reference.strides[axis]
        index[axis] = 0
        axis -= 1
      }
    }
  }

  private func swapBytes(_ tensor: Tensor) {
    switch tensor.dtype.byteCount {
    case 2: for i in 0..<tensor.count { tensor.elements(UInt16.self)[i] = tensor.elements(UInt16.self)[i].byteSwapped }
    case 4: for i in 0..<tensor.count { tensor.elements(UInt32.self)[i] = tensor.elements(UInt32.self)[i].byteSwapped }
    case 8: for i in 0..<tensor.count { tensor.elements(UInt64.self)[i] = tensor.elements(UInt64.self)[i].byteSwapped }
    default: break
    }
  }
}
