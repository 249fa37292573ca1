public import Platform
public import Tensors

extension Resampling {
  /// The resampling primitive on images and logits. Equal shapes return the input itself.
  ///
  /// Shapes: `data` is float32 [channels, a0, a1, a2]; the result [channels] + `shape`. Each slice (with a separate
  /// axis) or each channel (without) is clipped to its own range after interpolation. Along the separate axis samples
  /// are picked by the nearest rule (`orderZ` 0) or interpolated linearly (1).
  /// Throws: `.shape`, `.invalid`, `.outOfMemory`, `.cancelled`.
  /// Source: pipeline specification 4.5.
  public static func resampleImage(
    _ data: Tensor, to shape: [Int], current: [Double], new: [Double], order: Int, orderZ: Int, forceSeparateZ: Bool?,
    in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Tensor {
    let input = try checked(data, .float32, shape, current, new, orderZ)
    if input == shape { return data }
    let result = try Tensor(Shape([data.shape[0]] + shape), .float32, in: budget, "resampled image")
    guard let source = data.floats.baseAddress, let target = result.floats.baseAddress else { return result }
    let (inputCount, outputCount) = (input.reduce(1, *), shape.reduce(1, *))
    let axis = separateAxis(current: current, new: new, force: forceSeparateZ)
    for channel in 0..<data.shape[0] {
      let (from, to) = (source + channel * inputCount, target + channel * outputCount)
      if let axis {
        try resizeSlices(from, input, to, shape, axis, order, orderZ, budget, control)
      } else {
        try resizeVolume(from, input, to, shape, order, budget, control)
      }
    }
    return result
  }

  static func checked(
    _ data: Tensor, _ dtype: DType, _ shape: [Int], _ current: [Double], _ new: [Double], _ orderZ: Int
  ) throws(MedDINOError) -> [Int] {
    guard data.shape.rank == 4, data.dtype == dtype, data.count > 0 else {
      throw .shape("resampling: data is \(data.dtype) \(data.shape), expected \(dtype) [channels, a0, a1, a2]")
    }
    guard shape.count == 3, current.count == 3, new.count == 3, shape.allSatisfy({ $0 >= 1 }) else {
      throw .shape("resampling: new shape \(shape) and spacings need three positive values each")
    }
    guard orderZ == 0 || orderZ == 1 else { throw .invalid("order_z is \(orderZ), expected 0 or 1") }
    try check(current, "current spacing")
    try check(new, "new spacing")
    return Array(data.shape.extents.dropFirst())
  }

  private static func resizeVolume(
    _ from: UnsafePointer<Float>, _ input: [Int], _ to: UnsafeMutablePointer<Float>, _ shape: [Int], _ order: Int,
    _ budget: MemoryBudget, _ control: RunControl?
  ) throws(MedDINOError) {
    let clip = PlaneResizer.range(of: from, count: input.reduce(1, *))
    let low = clip.map { Double($0.lowerBound) } ?? -Double.infinity
    let high = clip.map { Double($0.upperBound) } ?? Double.infinity
    let (height, width) = (input[1], input[2])
    try VolumeResizer(input, to: shape, order: order).run(in: budget, control: control) { slice, row, line in
      let source = from + (slice * height + row) * width
      for j in 0..<width { line[j] = Double(source[j]) }
    } emit: { index, values, count in
      PlaneResizer.narrow(values, to + index, count, low, high)
    }
  }

  /// Slices perpendicular to `axis` one by one; only those that the result needs are resized, each once.
  private static func resizeSlices(
    _ from: UnsafePointer<Float>, _ input: [Int], _ to: UnsafeMutablePointer<Float>, _ shape: [Int], _ axis: Int,
    _ order: Int, _ orderZ: Int,
    _ budget: MemoryBudget, _ control: RunControl?
  ) throws(MedDINOError) {
    let (source, target) = (SliceAccess(shape: input, axis: axis), SliceAccess(shape: shape, axis: axis))
    let resizer = try PlaneResizer(
      rows: source.rows, columns: source.columns, toRows: target.rows, toColumns: target.columns, order: order)
    let along = try ResampleAxis(input[axis], to: shape[axis], order: orderZ, "slices")
    let (inputArea, area) = (source.rows * source.columns, target.rows * target.columns)
    let floats = try budget.allocate((inputArea + area) * 4, "resampling slices")
    let doubles = try budget.allocate((resizer.scratchDoubles + 3 * area) * 8, "resampling scratch")
    defer { withExtendedLifetime((floats, doubles)) {} }
    guard let plane = floats.elements(Float.self).baseAddress, let scratch = doubles.elements(Double.self).baseAddress
    else { return }
    let result = plane + inputArea
    let slots = scratch + resizer.scratchDoubles
    let mixed = slots + 2 * area
    var held = [-1, -1]
    func resized(_ slice: Int) -> UnsafePointer<Double> {
      let slot = slots + (slice & 1) * area
      if held[slice & 1] != slice {
        held[slice & 1] = slice
        source.gather(from, slice: slice, into: plane)
        resizer.resizeToDouble(plane, into: slot, scratch: scratch)
      }
      return UnsafePointer(slot)
    }
    for slice in 0..<shape[axis] {
      try control?.update(Double(slice) / Double(shape[axis]))
      var values = resized(Int(along.first[slice]))
      if orderZ == 1, !along.isIdentity {
        let other = resized(Int(along.second[slice]))
        ResampleAxis.mix(values, other, along.weights[2 * slice], along.weights[2 * slice + 1], area, into: mixed)
        values = UnsafePointer(mixed)
      }
      PlaneResizer.narrow(values, result, area, -.infinity, .infinity)
      target.scatter(result, into: to, slice: slice)
    }
  }
}

extension PlaneResizer {
  /// One slice, clipped to its own range, kept in Double.
  fileprivate func resizeToDouble(
    _ plane: UnsafePointer<Float>, into out: UnsafeMutablePointer<Double>, scratch: UnsafeMutablePointer<Double>
  ) {
    let (inputWidth, width) = (columns, newColumns)
    let clip = Self.range(of: plane, count: rows * inputWidth)
    let low = clip.map { Double($0.lowerBound) } ?? -Double.infinity
    let high = clip.map { Double($0.upperBound) } ?? Double.infinity
    produceRows(scratch: scratch) { row, line in
      let source = plane + row * inputWidth
      for j in 0..<inputWidth { line[j] = Double(source[j]) }
    } emit: { row, line in
      let target = out + row * width
      for j in 0..<width {
        let raised = line[j] < low ? low : line[j]
        target[j] = raised > high ? high : raised
      }
    }
  }
}
