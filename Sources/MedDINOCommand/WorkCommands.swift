import ArgumentParser
import Datasets
import Imaging
import MedDINO
import Platform
import Reports
import Tensors
import WeightFiles

struct FeaturesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "features", abstract: "Dense patch tokens of a volume's slices, as safetensors and as a picture.")
  @Argument(help: "Any model or backbone.", completion: .file()) var model: String
  @Argument(help: "Image: NIfTI, NRRD or MetaImage.", completion: .file()) var image: String
  @Option(name: [.short, .long], help: "safetensors file: \"tokens\" [slices, blocks, rows, columns, channels].", completion: .file())
  var output: String?
  @Option(help: "Picture of the first three principal components of the middle slice, PNG.", completion: .file()) var pca: String?
  @Option(help: ArgumentHelp("Blocks, ascending, comma-separated; the last by default.", valueName: "list")) var blocks: String?
  @Option(help: ArgumentHelp("Rows,columns each slice is resized to.", valueName: "size")) var size: String?
  @Option(help: ArgumentHelp("First,end of the slices.", valueName: "range")) var slices: String?
  @Option(help: "f32 or bf16.", completion: .list(["f32", "bf16"])) var precision: String?
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      guard output != nil || pca != nil else {
        throw ValidationError("Missing expected argument '--output <output>' or '--pca <pca>': what is to be written.")
      }
      try checkOutputs([("--output", output, [".safetensors"]), ("--pca", pca, [".png"])], inputs: [image, model])
      let context = try common.context()
      let opened = try Model.open(model, options: try opening.options(), context: context)
      let control = Terminal.control(quiet: common.quiet)
      let volume = try opened.readImage(image, control: control).volume
      let features = try Features(opened, volume, options: try options(volume), precision: try parsePrecision(precision), control: control)
      if let output { try SafeTensorsWriter.write([("tokens", features.tokens)], metadata: [("source", image)], to: output) }
      if let pca { try writePicture(pca, features, context, control) }
      Terminal.finishProgress()
      if !common.quiet { print("tokens \(features.tokens.shape)") }
    }
  }

  private func options(_ volume: Volume) throws -> FeatureOptions {
    var options = FeatureOptions()
    if let blocks { options.blocks = try integers(blocks, "--blocks") }
    if let size {
      let pair = try integers(size, "--size")
      guard pair.count == 2 else { throw MedDINOError.invalid("--size is \"\(size)\", expected rows,columns") }
      options.inputSize = (pair[0], pair[1])
    }
    if let slices {
      let pair = try integers(slices, "--slices")
      guard pair.count == 2, pair[0] >= 0, pair[0] < pair[1] else {
        throw MedDINOError.invalid("--slices is \"\(slices)\", expected first,end")
      }
      options.slices = pair[0]..<pair[1]
    }
    return options
  }

  private func writePicture(_ path: String, _ features: Features, _ context: Context, _ control: RunControl) throws {
    let grid = Geometry(dims: [features.columns, features.rows, features.slices.count])
    let rgb = try Volume(allocating: .uint8, channels: 3, geometry: grid, in: context.budget, "principal components")
    try features.principalComponents(into: rgb, control: control)
    let planes = try Tensor([3, features.rows, features.columns], in: context.budget)
    let middle = features.slices.count / 2
    for channel in 0..<3 {
      for y in 0..<features.rows {
        for x in 0..<features.columns {
          planes.floats[(channel * features.rows + y) * features.columns + x] = Float(rgb.value(x, y, middle, channel: channel)) / 255
        }
      }
    }
    try RGBPicture.write(planes, pixelSize: max(1, 512 / max(features.rows, features.columns)), to: path, in: context.budget)
  }
}

struct PhantomCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "phantom", abstract: "Write synthetic torso CTs with organ labels as an nnU-Net dataset, or one volume.")
  @Argument(help: "Folder the dataset folder is made in, or with --single the image file to write.", completion: .file())
  var destination: String
  @Option(help: "Training cases.") var cases = 8
  @Option(help: "Test cases.") var testCases = 2
  @Option(help: "Seed.") var seed: UInt64 = 0
  @Option(help: "Organs, 1 to 8.") var organs = 8
  @Option(help: ArgumentHelp("Fixed size x,y,z with x = y, instead of varying ones.", valueName: "size")) var size: String?
  @Option(help: ArgumentHelp("Standard deviation of the noise in HU: one for all cases, or LOW,HIGH; 10,20 by default.", valueName: "HU"))
  var noise: String?
  @Option(help: "native (no contrast medium) or venous.") var phase = "native"
  @Option(help: "Chance that the spleen, a kidney or (twice) the gallbladder is missing.") var missing = 0.1
  @Flag(help: "One image of the fixed size (and with --labels its label map) instead of a dataset.") var single = false
  @Option(help: "With --single: label map to write.", completion: .file()) var labels: String?
  @Option(
    help: "Ending of the dataset's files: \(VolumeFile.words(VolumeFile.singleFileEndings)).",
    completion: .list(VolumeFile.singleFileEndings)) var ending = ".nii.gz"
  @Flag(help: "All files in LPS order instead of varying orientations.") var lps = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      let context = try common.context()
      let control = Terminal.control(quiet: common.quiet)
      var options = try fixed() ?? PhantomOptions()
      options.seed = seed
      options.labelCount = organs
      options.cases = cases
      options.testCases = testCases
      options.fileEnding = ending
      if lps { options.orientations = [.lps] }
      if let noise { options.noise = try range(noise, "--noise") }
      guard let phase = PhantomPhase(rawValue: phase) else {
        throw MedDINOError.invalid("--phase is \"\(phase)\", expected \(PhantomPhase.allCases.map(\.rawValue).joined(separator: " or "))")
      }
      options.phase = phase
      options.missingChance = missing
      guard single || labels == nil else { throw MedDINOError.invalid("--labels has an effect only together with --single") }
      if single {
        try checkOutputs([("destination", destination, VolumeFile.endings), ("--labels", labels, VolumeFile.endings)], inputs: [])
        if let labels {
          let pair = try Phantom.makeCase(index: 0, options: options, in: context.budget, pool: context.pool, control: control)
          try VolumeFile.write(pair.image, to: destination, control: control)
          try VolumeFile.write(pair.labels, to: labels, control: control)
        } else {
          let image = try Phantom.makeImage(index: 0, options: options, in: context.budget, pool: context.pool, control: control)
          try VolumeFile.write(image, to: destination, control: control)
        }
        Terminal.finishProgress()
        if !common.quiet { print(destination) }
      } else {
        let folder = try Phantom.writeDataset(to: destination, options: options, in: context.budget, pool: context.pool, control: control)
        Terminal.finishProgress()
        if !common.quiet { print(folder) }
      }
    }
  }

  /// "4" or "4,8". Throws: `.invalid` naming the option.
  private func range(_ text: String, _ option: String) throws -> ClosedRange<Double> {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(\.trimmed)
    let numbers = parts.compactMap { DecimalText.parse($0) }
    guard numbers.count == parts.count, (1...2).contains(numbers.count), let low = numbers.first, let high = numbers.last, low <= high
    else {
      throw MedDINOError.invalid("\(option) is \"\(text)\", expected one number or LOW,HIGH")
    }
    return low...high
  }

  private func fixed() throws -> PhantomOptions? {
    guard let size else { return nil }
    let dims = try integers(size, "--size")
    guard dims.count == 3, dims[0] == dims[1], dims.allSatisfy({ $0 > 0 }) else {
      throw MedDINOError.invalid("--size is \"\(size)\", expected x,y,z with x = y")
    }
    return .fixed(matrix: dims[0], slices: dims[2], seed: seed)
  }
}

struct LogitsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logits", abstract: "Raw network outputs of prepared images, for comparisons.", shouldDisplay: false)
  @Argument(help: "Segmentation model.", completion: .file()) var model: String
  @Argument(help: "safetensors with \"images\" [batch, channels, rows, columns] float32.", completion: .file()) var input: String
  @Option(name: [.short, .long], help: "safetensors with \"logits\" to write.", completion: .file()) var output: String
  @Option(help: "f32 or bf16.", completion: .list(["f32", "bf16"])) var precision: String?
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      let context = try common.context()
      let opened = try Model.open(model, options: try opening.options(), context: context)
      let images = try SafeTensorsFile(InputFile(input)).tensor("images", in: context.budget).asFloat32(in: context.budget)
      let logits = try opened.logits(images, precision: try parsePrecision(precision), control: Terminal.control(quiet: common.quiet))
      try SafeTensorsWriter.write([("logits", logits)], to: output)
    }
  }
}
