public import Platform
public import Tensors

extension Resampling {
  /// The resampling primitive on segmentations. Equal shapes return the input itself.
  ///
  /// Shapes: `data` is int16 [channels, a0, a1, a2]; the result [channels] + `shape`. A voxel gets the largest label
  /// whose resized indicator reaches 0.5, and 0 when none does; along a separate axis the nearest slice (`orderZ` 0) or
  /// the label with more than half of the linear weight (1).
  /// Throws: `.shape`, `.invalid`, `.outOfMemory`, `.cancelled`.
  /// Source: pipeline specification 4.5 (`resize_seg`).
  public static func resampleLabels(
    _ data: Tensor, to shape: [Int], current: [Double], new: [Double], order: Int, orderZ: Int, forceSeparateZ: Bool?,
    in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Tensor {
    let input = try checked(data, .int16, shape, current, new, orderZ)
    if input == shape { return data }
    let result = try Tensor(Shape([data.shape[0]] + shape), .int16, in: budget, "resampled labels")
    guard let source = data.elements(Int16.self).baseAddress, let target = result.elements(Int16.self).baseAddress
    else { return result }
    let (inputCount, outputCount) = (input.reduce(1, *), shape.reduce(1, *))
    let axis = separateAxis(current: current, new: new, force: forceSeparateZ)
    for channel in 0..<data.shape[0] {
      let (from, to) = (source + channel * inputCount, target + channel * outputCount)
      if let axis {
        try resizeLabelSlices(from, input, to, shape, axis, order, orderZ, budget, control)
      } else if input[0] == shape[0] {
        // A label's indicator in a slice does not depend on the other slices when their number stays.
        try resizeLabelSlices(from, input, to, shape, 0, order, 0, budget, control)
      } else if order == 0 {
        try nearestLabels(from, input, to, shape)
      } else {
        try voteLabels(from, input, to, shape, order, budget, control)
      }
    }
    return result
  }

  private static func nearestLabels(
    _ from: UnsafePointer<Int16>, _ input: [Int], _ to: UnsafeMutablePointer<Int16>, _ shape: [Int]
  ) throws(MedDINOError) {
    let a = try ResampleAxis(input[0], to: shape[0], order: 0, "slices")
    let b = try ResampleAxis(input[1], to: shape[1], order: 0, "rows")
    let c = try ResampleAxis(input[2], to: shape[2], order: 0, "columns")
    for i in 0..<shape[0] {
      for j in 0..<shape[1] {
        let line = from + (Int(a.first[i]) * input[1] + Int(b.first[j])) * input[2]
        let target = to + (i * shape[1] + j) * shape[2]
        for k in 0..<shape[2] { target[k] = line[Int(c.first[k])] }
      }
    }
  }

  private static func voteLabels(
    _ from: UnsafePointer<Int16>, _ input: [Int], _ to: UnsafeMutablePointer<Int16>, _ shape: [Int], _ order: Int,
    _ budget: MemoryBudget, _ control: RunControl?
  ) throws(MedDINOError) {
    let resizer = try VolumeResizer(input, to: shape, order: order)
    let (height, width) = (input[1], input[2])
    to.update(repeating: 0, count: shape.reduce(1, *))
    for label in LabelSet(from, count: input.reduce(1, *)).ascending {
      try resizer.run(in: budget, control: control) { slice, row, line in
        let source = from + (slice * height + row) * width
        for j in 0..<width { line[j] = source[j] == label ? 1 : 0 }
      } emit: { index, values, count in
        for j in 0..<count where values[j] >= 0.5 { to[index + j] = label }
      }
    }
  }

  private static func resizeLabelSlices(
    _ from: UnsafePointer<Int16>, _ input: [Int], _ to: UnsafeMutablePointer<Int16>, _ shape: [Int], _ axis: Int,
    _ order: Int, _ orderZ: Int, _ budget: MemoryBudget, _ control: RunControl?
  ) throws(MedDINOError) {
    let (source, target) = (SliceAccess(shape: input, axis: axis), SliceAccess(shape: shape, axis: axis))
    let resizer = try PlaneResizer(
      rows: source.rows, columns: source.columns, toRows: target.rows, toColumns: target.columns, order: order)
    let along = try ResampleAxis(input[axis], to: shape[axis], order: orderZ, "slices")
    let (inputArea, area) = (source.rows * source.columns, target.rows * target.columns)
    let labels = try budget.allocate((inputArea + 3 * area) * 2, "resampling slices")
    let doubles = try budget.allocate(resizer.scratchDoubles * 8, "resampling scratch")
    defer { withExtendedLifetime((labels, doubles)) {} }
    guard let plane = labels.elements(Int16.self).baseAddress, let scratch = doubles.elements(Double.self).baseAddress
    else { return }
    let slots = plane + inputArea
    let mixed = slots + 2 * area
    var held = [-1, -1]
    func resized(_ slice: Int) -> UnsafePointer<Int16> {
      let slot = slots + (slice & 1) * area
      if held[slice & 1] != slice {
        held[slice & 1] = slice
        source.gather(from, slice: slice, into: plane)
        resizer.resizeLabels(plane, into: slot, scratch: scratch)
      }
      return UnsafePointer(slot)
    }
    for slice in 0..<shape[axis] {
      try control?.update(Double(slice) / Double(shape[axis]))
      var values = resized(Int(along.first[slice]))
      if orderZ == 1, !along.isIdentity {
        let other = resized(Int(along.second[slice]))
        let (wa, wb) = (along.weights[2 * slice], along.weights[2 * slice + 1])
        for j in 0..<area {
          let (a, b) = (values[j], other[j])
          mixed[j] = a == b || wa > 0.5 ? a : wb > 0.5 ? b : 0
        }
        values = UnsafePointer(mixed)
      }
      target.scatter(values, into: to, slice: slice)
    }
  }
}
