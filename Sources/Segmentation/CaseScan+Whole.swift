public import Platform
public import Tensors

extension CaseScan {
  /// The first look at a whole case, for callers that do not prepare it for a network.
  /// Throws: `.invalid` when a channel has no finite value, `.outOfMemory`, `.cancelled`.
  public static func whole(
    _ source: CaseChannels, pool: ThreadPool, in budget: MemoryBudget, control: RunControl
  ) throws(MedDINOError) -> CaseScan {
    let shape = source.grid.shape
    let planes = try LanePlanes(planeFloats: shape[1] * shape[2], slices: shape[0], pool: pool, in: budget)
    return try CaseScan(source, findBody: false, planes: planes, control: control)
  }
}
