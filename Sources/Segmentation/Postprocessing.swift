public import Imaging
public import Platform
public import Tensors
public import WeightFiles

/// What is done to a finished label map: a list of "keep the largest component" steps, as nnU-Net determines them.
///
/// Source: pipeline specification 11.3.
public struct Postprocessing: Equatable, Sendable {
  /// nnU-Net's name of the one step there is.
  public static let functionName = "remove_all_but_largest_component_from_segmentation"

  /// One step: the label values whose union is taken apart, and whether its JSON form is a list.
  public struct Step: Equatable, Sendable {
    public let values: [Int]
    public let isList: Bool
    public init(values: [Int], isList: Bool) {
      self.values = values
      self.isList = isList
    }
    var json: JSON { isList || values.count != 1 ? .integers(values) : .integer(values[0]) }
  }
  public var steps: [Step]
  public init(steps: [Step] = []) { self.steps = steps }

  /// Reads nnU-Net's `postprocessing.json`: `postprocessing_fns` and `postprocessing_kwargs`; other keys are not looked at.
  /// Throws: `.format` naming the key, `.unsupported` for a function or an argument that is not known.
  public init(_ json: JSON) throws(MedDINOError) {
    guard let names = json["postprocessing_fns"]?.arrayValue, let arguments = json["postprocessing_kwargs"]?.arrayValue else {
      throw .format("postprocessing_fns or postprocessing_kwargs is missing or not a list")
    }
    guard names.count == arguments.count else {
      throw .format("postprocessing_fns has \(names.count) entries, postprocessing_kwargs \(arguments.count)")
    }
    steps = []
    for (name, argument) in zip(names, arguments) {
      guard name.stringValue == Self.functionName else {
        throw .unsupported("postprocessing_fns holds \(name.text()), expected \"\(Self.functionName)\"")
      }
      steps.append(try Self.step(argument))
    }
  }

  public static func parse(_ bytes: [UInt8], source: String = "postprocessing.json") throws(MedDINOError) -> Postprocessing {
    let json = try JSON.parse(bytes, source: source)
    do { return try Postprocessing(json) } catch { throw error.within(source) }
  }

  /// `postprocessing_fns` and `postprocessing_kwargs`.
  public var entries: [(String, JSON)] {
    [
      ("postprocessing_fns", .array(steps.map { _ in .string(Self.functionName) })),
      ("postprocessing_kwargs", .array(steps.map { .object(("labels_or_regions", $0.json)) })),
    ]
  }

  /// Runs the steps in order, in place. Returns the number of voxels that became 0.
  /// Throws: as `LargestComponent.keep`.
  @discardableResult
  public func apply(
    to labels: Volume, pool: ThreadPool, in budget: MemoryBudget, control: RunControl? = nil
  ) throws(MedDINOError) -> Int {
    var removed = 0
    for step in steps { removed += try LargestComponent.keep(step.values, in: labels, pool: pool, budget: budget, control: control) }
    return removed
  }

  private static func step(_ json: JSON) throws(MedDINOError) -> Step {
    guard let object = json.objectValue, let wanted = object["labels_or_regions"] else {
      throw .format("postprocessing_kwargs: labels_or_regions is missing")
    }
    for (key, value) in object.entries where key != "labels_or_regions" {
      guard key == "background_label", value.intValue == 0 else {
        throw .unsupported("postprocessing_kwargs: \(key) is \(value.text()), expected labels_or_regions alone")
      }
    }
    let values = try self.values(wanted, depth: 0)
    guard !values.isEmpty else { throw .format("postprocessing_kwargs: labels_or_regions is empty") }
    return Step(values: values, isList: wanted.arrayValue != nil)
  }

  /// A label, a region, or a list of labels and regions.
  private static func values(_ json: JSON, depth: Int) throws(MedDINOError) -> [Int] {
    if let value = json.intValue, (0...65535).contains(value) { return [value] }
    guard let items = json.arrayValue, depth < 2 else {
      throw .format("postprocessing_kwargs: labels_or_regions holds \(json.text()), expected labels of 0 to 65535 or lists of them")
    }
    var result: [Int] = []
    for item in items { result += try values(item, depth: depth + 1) }
    return result
  }
}
