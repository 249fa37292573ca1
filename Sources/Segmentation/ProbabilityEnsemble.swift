public import Imaging
public import Platform
public import Tensors

/// Labels from the mean of several models' probability maps.
///
/// Source: pipeline specification 10, last paragraph (in the form that also holds for regions).
public enum ProbabilityEnsemble {
  /// Averages in float32, in the order of `maps`; then the first largest channel is the label, or a region is on above one half,
  /// later regions over earlier ones.
  ///
  /// Shapes: each map has one channel per head of `scheme` on the grid of `labels`.
  /// Throws: `.shape`, `.invalid` naming the map, `.unsupported` for a label type; `.outOfMemory`, `.cancelled`.
  public static func decode(
    _ maps: [Volume], scheme: LabelScheme, into labels: Volume, pool: ThreadPool, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) {
    let dims = labels.geometry.dims
    let heads = scheme.heads.count
    guard !maps.isEmpty else { throw .invalid("no probability map given, expected at least one") }
    for (index, map) in maps.enumerated() {
      guard map.geometry.dims == dims, map.channels == heads else {
        throw .shape("maps[\(index)] has dims \(map.geometry.dims) and \(map.channels) channels, expected \(dims) and \(heads)")
      }
    }
    try VolumeSink.checkLabels(labels, dims: dims, largest: scheme.largestOutput)
    let sink = VolumeSink(labels, axes: [2, 1, 0], pool: pool)
    let plane = try Checked.product([dims[0], dims[1]], "probability slices")
    let means = try Tensor([heads, plane], in: budget, "probability slices")
    let parts = try Tensor([heads, plane], in: budget, "probability slices")
    let values = try Tensor([plane], .int32, in: budget, "slice labels")
    for z in 0..<dims[2] {
      try control?.update(Double(z) / Double(dims[2]))
      pool.forEach(heads) { head in average(maps, head: head, z: z, means, parts) }
      guard means.floats.allSatisfy(\.isFinite) else { throw .invalid("a probability map holds NaN or infinity in slice \(z)") }
      pool.forBlocks(of: dims[1], grain: 16) { rows in
        guard let line = values.elements(Int32.self).baseAddress else { return }
        for y in rows {
          for x in 0..<dims[0] { line[y * dims[0] + x] = Int32(truncatingIfNeeded: label(scheme, means, y * dims[0] + x, plane)) }
          sink.writeLabels(line + y * dims[0], count: dims[0], slice: z, row: y, column: 0)
        }
      }
    }
  }

  private static func average(_ maps: [Volume], head: Int, z: Int, _ means: Tensor, _ parts: Tensor) {
    let plane = means.shape[1]
    guard let mean = means.floats.baseAddress.map({ $0 + head * plane }), let part = parts.floats.baseAddress.map({ $0 + head * plane })
    else { return }
    for (index, map) in maps.enumerated() {
      let dims = map.geometry.dims
      map.readPlane(
        axis: 2, index: z, rowAxis: 1, rows: 0..<dims[1], columnAxis: 0, columns: 0..<dims[0], channel: head,
        into: index == 0 ? mean : part)
      if index > 0 { for at in 0..<plane { mean[at] += part[at] } }
    }
    let count = Float(maps.count)
    for at in 0..<plane { mean[at] /= count }
  }

  private static func label(_ scheme: LabelScheme, _ means: Tensor, _ at: Int, _ plane: Int) -> Int {
    let values = means.floats
    if scheme.hasRegions {
      return scheme.heads.indices.reduce(0) { values[$1 * plane + at] > 0.5 ? scheme.heads[$1].value : $0 }
    }
    var best = 0
    for head in scheme.heads.indices.dropFirst() where values[head * plane + at] > values[best * plane + at] { best = head }
    return scheme.heads[best].value
  }
}
