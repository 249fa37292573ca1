internal import Imaging
public import Platform
public import Tensors
internal import WeightFiles

extension Phantom {
  /// Writes an nnU-Net raw dataset `Dataset<three digits>_<name>` of phantom cases into `folder` and returns its path.
  ///
  /// Files: `imagesTr`, `labelsTr`, `imagesTs`, `labelsTs` (with `testLabels`) and, last of all, `dataset.json`, so
  /// that a folder left by a cancelled run is no dataset. Memory: one case at a time.
  /// Throws: `.invalid` for options or a dataset folder that is not empty, `.outOfMemory`, `.io`, `.cancelled`.
  /// Source: pipeline specification 1.2 and 1.3.
  @discardableResult
  public static func writeDataset(
    to folder: String, options: PhantomOptions, in budget: MemoryBudget, pool: ThreadPool? = nil,
    control: RunControl? = nil
  ) throws(MedDINOError) -> String {
    try options.validate()
    let digits = String(options.datasetID)
    let name = "Dataset" + String(repeating: "0", count: 3 - digits.count) + digits + "_" + options.name
    let root = folder.isEmpty ? name : folder + "/" + name
    if FileKind.of(root) != .missing, try !folderEntries(root).isEmpty {
      throw .invalid("\(root): exists and is not empty, expected a new dataset folder")
    }
    let total = options.cases + options.testCases
    for index in 0..<total {
      let isTest = index >= options.cases
      let file = "phantom_" + padded(index)
      func progress(_ stage: String, _ from: Double, _ to: Double) throws(MedDINOError) {
        try control?.begin(
          stage, from: (Double(index) + from) / Double(total), to: (Double(index) + to) / Double(total))
      }
      try progress("rendering", 0, 0.3)
      let (image, labels) = try makeCase(index: index, options: options, in: budget, pool: pool, control: control)
      try progress("writing", 0.3, 0.9)
      try write(image, "\(root)/\(isTest ? "imagesTs" : "imagesTr")", "\(file)_0000\(options.fileEnding)", control)
      if isTest && !options.testLabels { continue }
      try progress("writing", 0.9, 1)
      try write(labels, "\(root)/\(isTest ? "labelsTs" : "labelsTr")", file + options.fileEnding, control)
    }
    try makeFolder(root)
    try AtomicFile.write(Array((description(options).text(indent: 4) + "\n").utf8), to: root + "/dataset.json")
    return root
  }

  private static func write(
    _ volume: Volume, _ folder: String, _ name: String, _ control: RunControl?
  ) throws(MedDINOError) {
    try makeFolder(folder)
    try VolumeFile.write(volume, to: folder + "/" + name, control: control)
  }

  /// At least three digits, so that names sort by number up to 999.
  private static func padded(_ index: Int) -> String {
    let digits = String(index)
    return String(repeating: "0", count: max(0, 3 - digits.count)) + digits
  }

  private static func description(_ options: PhantomOptions) -> JSON {
    var labels = JSONObject([("background", .integer(0))])
    for label in Phantom.labels(options.labelCount) { labels[label.name] = .integer(label.value) }
    return .object(
      ("channel_names", .object(("0", .string("CT")))),
      ("labels", .object(labels)),
      ("numTraining", .integer(options.cases)),
      ("file_ending", .string(options.fileEnding)),
      ("name", .string(options.name)),
      ("description", .string("Synthetic torso CT of the meddino phantom, seed \(options.seed); no patient data")))
  }
}
