import ArgumentParser
import Datasets
import Imaging
import MedDINO
import Networks
import Platform
import Reports
import Tensors
import WeightFiles

struct FeaturesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "features", abstract: "Dense patch tokens of a volume's slices, as safetensors and as a picture.")
  @Argument(help: "Any model or backbone.") var model: String
  @Argument(help: "Image, NIfTI.") var image: String
  @Option(name: [.short, .long], help: "safetensors file: \"tokens\" [slices, blocks, rows, columns, channels].") var output: String?
  @Option(help: "Picture of the first three principal components of the middle slice, PNG.") var pca: String?
  @Option(help: ArgumentHelp("Blocks, ascending, comma-separated; the last by default.", valueName: "list")) var blocks: String?
  @Option(help: ArgumentHelp("Rows,columns each slice is resized to.", valueName: "size")) var size: String?
  @Option(help: ArgumentHelp("First,end of the slices.", valueName: "range")) var slices: String?
  @Option(help: "f32 or bf16.") var precision: String?
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      guard output != nil || pca != nil else { throw MedDINOError.invalid("neither --output nor --pca is given") }
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
  @Argument(help: "Folder the dataset folder is made in, or with --single the image file to write.") var destination: String
  @Option(help: "Training cases.") var cases = 8
  @Option(help: "Test cases.") var testCases = 2
  @Option(help: "Seed.") var seed: UInt64 = 0
  @Option(help: "Organs, 1 to 8.") var organs = 8
  @Option(help: ArgumentHelp("Fixed size x,y,z with x = y, instead of varying ones.", valueName: "size")) var size: String?
  @Option(help: ArgumentHelp("Standard deviation of the noise in HU: one for all cases, or LOW,HIGH; 10,20 by default.", valueName: "HU"))
  var noise: String?
  @Flag(help: "One image of the fixed size (and with --labels its label map) instead of a dataset.") var single = false
  @Option(help: "With --single: label map to write.") var labels: String?
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
      if lps { options.orientations = [.lps] }
      if let noise { options.noise = try range(noise, "--noise") }
      guard single || labels == nil else { throw MedDINOError.invalid("--labels has an effect only together with --single") }
      if single {
        try checkOutputs([("destination", destination, imageEndings), ("--labels", labels, imageEndings)], inputs: [])
        if let labels {
          let pair = try Phantom.makeCase(index: 0, options: options, in: context.budget, pool: context.pool, control: control)
          try NIfTI.write(pair.image, to: destination, control: control)
          try NIfTI.write(pair.labels, to: labels, control: control)
        } else {
          let image = try Phantom.makeImage(index: 0, options: options, in: context.budget, pool: context.pool, control: control)
          try NIfTI.write(image, to: destination, control: control)
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
    guard numbers.count == parts.count, (1...2).contains(numbers.count), let low = numbers.first, let high = numbers.last, low <= high else {
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

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Time the network's forward pass, or a training step, on this machine.")
  @Option(help: "Rows and columns of the input.") var size = 512
  @Option(help: "f32 or bf16.") var precision: String?
  @Option(help: "Counted runs after one warm-up.") var runs = 5
  @Option(help: "Output classes.") var classes = 16
  @Option(help: "Encoder preset.") var encoder = "meddinov3_vitb16"
  @Flag(help: "Whole training steps: forward, loss, backward, clipping and AdamW, batch 1.") var train = false
  @Flag(help: "With --train: activations are computed again in the backward instead of kept.") var recompute = false
  @Flag(help: "As JSON.") var json = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      guard train || !recompute else { throw MedDINOError.invalid("--recompute has an effect only together with --train") }
      guard (1...1000).contains(runs), (1...8192).contains(size) else {
        throw MedDINOError.invalid("--runs is \(runs) and --size \(size), expected 1 to 1000 and 1 to 8192")
      }
      let context = try common.context()
      let network = try EncoderConfiguration.preset(encoder)
      let configuration = Primus.Configuration(
        encoder: network, taps: Primus.Configuration.evenTaps(depth: network.depth), classes: classes)
      if train { return try timeTraining(configuration, context) }
      let primus = try Primus(
        configuration, parameters: InitialParameters(seed: 0, configuration: network), device: context.device,
        precision: try parsePrecision(precision))
      let images = try Tensor([1, 1, size, size], in: context.budget)
      var random = CounterRandom(seed: 1, purpose: "bench")
      for index in 0..<images.count { images.floats[index] = Float(random.normal()) }
      let workspace = Workspace(context.budget)
      var times: [Double] = []
      var checksum = 0.0
      for run in 0...runs {
        let start = monotonicSeconds()
        let logits = try primus.logits(images, device: context.device, workspace: workspace)
        if run > 0 { times.append(monotonicSeconds() - start) }
        checksum = logits.value(0)
      }
      times.sort()
      let cost = NetworkCost(
        configuration, height: size, width: size, threads: context.pool.width)
      report(times, checksum, cost.flops, context)
    }
  }

  private func timeTraining(_ configuration: Primus.Configuration, _ context: Context) throws {
    let bench = TrainingBench(
      configuration: configuration, size: size, precision: try parsePrecision(precision), recompute: recompute, context: context)
    let times = try bench.run(runs)
    let median = times[times.count / 2]
    if json {
      return print(
        JSON.object(
          ("seconds", .number(median)), ("min_seconds", .number(times[0])), ("max_seconds", .number(times[times.count - 1])),
          ("peak_bytes", .integer(peakResidentBytes())), ("kernels", .string(context.device.name)),
          ("threads", .integer(context.pool.width))
        ).text())
    }
    print(
      "training step \(size) × \(size) \(precision ?? "f32")\(recompute ? ", recomputed" : ""): median \(DecimalText.fixed(median, digits: 3)) s "
        + "(\(DecimalText.fixed(times[0], digits: 3)) to \(DecimalText.fixed(times[times.count - 1], digits: 3))), \(context.device.name), "
        + "\(context.pool.width) threads, peak \(peakResidentBytes() >> 20) MB")
  }

  private func report(_ times: [Double], _ checksum: Double, _ flops: Double, _ context: Context) {
    let median = times[times.count / 2]
    if json {
      return print(
        JSON.object(
          ("median_seconds", .number(median)), ("min_seconds", .number(times[0])), ("max_seconds", .number(times[times.count - 1])),
          ("gflops", .number(flops / median / 1e9)), ("peak_rss_bytes", .integer(peakResidentBytes())), ("checksum", .number(checksum)),
          ("kernels", .string(context.device.name)), ("threads", .integer(context.pool.width))
        ).text())
    }
    print(
      "\(size) × \(size) \(precision ?? "f32"): median \(DecimalText.fixed(median, digits: 3)) s "
        + "(\(DecimalText.fixed(times[0], digits: 3)) to \(DecimalText.fixed(times[times.count - 1], digits: 3))), "
        + "\(DecimalText.fixed(flops / median / 1e9, digits: 0)) GFLOP/s, \(context.device.name), \(context.pool.width) threads, "
        + "peak \(peakResidentBytes() >> 20) MB")
  }
}

struct LogitsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logits", abstract: "Raw network outputs of prepared images, for comparisons.", shouldDisplay: false)
  @Argument(help: "Segmentation model.") var model: String
  @Argument(help: "safetensors with \"images\" [batch, channels, rows, columns] float32.") var input: String
  @Option(name: [.short, .long], help: "safetensors with \"logits\" to write.") var output: String
  @Option(help: "f32 or bf16.") var precision: String?
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
