public import Platform

/// Extents of a tensor, row-major, outermost first.
public struct Shape: Hashable, Sendable, ExpressibleByArrayLiteral, CustomStringConvertible {
  public let extents: [Int]
  public init(_ extents: [Int]) { self.extents = extents }
  public init(arrayLiteral elements: Int...) { extents = elements }

  public var rank: Int { extents.count }
  public subscript(axis: Int) -> Int { extents[axis] }
  /// Number of elements. Only for shapes that were made by us or went through `checkedCount`.
  public var count: Int { extents.reduce(1, *) }
  /// Throws: `.format` when an extent is negative or the product does not fit.
  public func checkedCount(_ what: @autoclosure () -> String) throws(MedDINOError) -> Int {
    try Checked.product(extents, what())
  }
  public var description: String { "[" + extents.map(String.init).joined(separator: ", ") + "]" }
}
