public import Platform

/// Scratch memory of one run, by name: a slot keeps its buffer from slice to slice and grows when a larger one is asked for.
///
/// Not shared between threads. A tensor from a slot is valid until the same slot is asked for again.
public final class Workspace {
  private let budget: MemoryBudget
  private var slots: [String: Buffer] = [:]
  private var tables: [TableKey: RopeTable] = [:]
  /// A rope table depends on the grid and on the network it is for.
  private struct TableKey: Hashable {
    let network: ObjectIdentifier
    let rows: Int
    let columns: Int
  }
  public init(_ budget: MemoryBudget) { self.budget = budget }

  public func tensor(_ name: String, _ shape: Shape, _ dtype: DType = .float32) throws(MedDINOError) -> Tensor {
    let bytes = try Checked.product([try shape.checkedCount(name), dtype.byteCount], name)
    return Tensor(shape, dtype, buffer: try buffer(name, bytes), byteOffset: 0)
  }

  public func buffer(_ name: String, _ byteCount: Int) throws(MedDINOError) -> Buffer {
    if let held = slots[name], held.byteCount >= byteCount { return held }
    slots[name] = nil  // give the old one back first: both at once would double the peak
    let made = try budget.allocate(byteCount, name)
    slots[name] = made
    return made
  }

  /// The rope table of `owner` for a grid, made by `make` when it is not held yet.
  public func ropeTable(
    owner: AnyObject, rows: Int, columns: Int, _ make: () throws(MedDINOError) -> RopeTable
  ) throws(MedDINOError) -> RopeTable {
    let key = TableKey(network: ObjectIdentifier(owner), rows: rows, columns: columns)
    if let table = tables[key] { return table }
    let table = try make()
    tables[key] = table
    return table
  }
}
