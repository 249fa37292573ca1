import ArgumentParser
import Datasets
import MedDINO
import Platform
import Slices
import WeightFiles

struct CurateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "curate", abstract: "Make a slice set for pretraining from folders of CT volumes, in the manner of CT-3M.",
    discussion: """
      Each SOURCE folder of volumes (NIfTI, NRRD, MetaImage) becomes a part of the set in DEST: axial slices resampled in plane, clipped, without empty and \
      duplicate ones, in tar shards of .npy files with an index. With --source the folders are one source of the catalogue in its \
      published layout (see --list-sources). A run that was stopped goes on where it was when the same command is given again. \
      With --check the only argument is a set, of which every byte is read.
      """)
  @Argument(
    help: ArgumentHelp("Source folders, then the folder of the set; with --check the set.", valueName: "source... dest"),
    completion: .directory)
  var paths: [String] = []
  @Flag(help: "List the public sources of CT-3M with their layouts and licences.") var listSources = false
  @Flag(help: "Check a set, and time reading it.") var check = false
  @Flag(help: "With --check: pass over damaged shards and slices, naming them, instead of failing.") var skipDamaged = false
  @Option(help: ArgumentHelp("Source of the catalogue.", valueName: "name")) var source: String?
  @Option(help: ArgumentHelp("Name of the part; the source's or the folder's by default.", valueName: "name")) var name: String?
  @OptionGroup(title: "Rules") var rules: CurateRuleOptions
  @OptionGroup(title: "What stays out, where it comes from") var content: CurateContentOptions
  @Option(help: ArgumentHelp("Slices of one shard.", valueName: "n")) var shardSlices = 4096
  @Option(help: ArgumentHelp("Volumes in memory at once; 0 chooses by threads and memory.", valueName: "n")) var jobs = 0
  @Flag(help: "Print the outcome as JSON.") var json = false
  @OptionGroup var common: CommonOptions

  func validate() throws {
    guard listSources || check || paths.count >= 2 else {
      throw ValidationError("Expected at least one source folder and then the folder of the set.")
    }
  }

  func run() throws {
    try perform {
      guard !(listSources && check) else { throw MedDINOError.invalid("--list-sources and --check exclude each other") }
      if listSources { return try list() }
      if check { return try checkSet() }
      guard !skipDamaged else { throw MedDINOError.invalid("--skip-damaged has an effect only together with --check") }
      try curate()
    }
  }

  private func curate() throws {
    guard let destination = paths.last else { return }
    let context = try common.context()
    let sources = try self.sources(Array(paths.dropLast()))
    var options = CurationOptions()
    options.rules = try rules.rules()
    options.shardSlices = shardSlices
    options.jobs = jobs
    options.badCase = content.skipBad ? .skip : .refuse
    options.excludedNames = try content.excludedNames()
    options.excludedImages = content.excludeImages
    let log = Log(threshold: common.verbose ? .info : .warning) { level, message in
      if !common.quiet { note("\(level == .info ? "" : "\(level): ")\(message)") }
    }
    let control = Terminal.control(quiet: common.quiet)
    var reports: [CurationReport] = []
    for (index, source) in sources.enumerated() {
      let part = control.span(Double(index) / Double(sources.count), Double(index + 1) / Double(sources.count))
      let report = try Curation.run(
        source, to: destination, options: options, pool: context.pool, in: context.budget, control: part, log: log)
      Terminal.finishProgress()
      if !json, !common.quiet { print(text(report)) }
      reports.append(report)
    }
    warn(reports)
    if json { print(JSON.object(("parts", .array(reports.map(\.json)))).text(indent: 2)) }
  }

  private func sources(_ folders: [String]) throws -> [CurationSource] {
    guard let source else {
      if let name { return [content.applied(to: CurationSource(name: name, folders: folders))] }
      let parts = try folders.map { folder in
        content.applied(to: CurationSource(name: try CurationSource.name(ofFolder: folder), folders: [folder]))
      }
      for (index, part) in parts.enumerated() where parts[..<index].contains(where: { $0.name == part.name }) {
        throw MedDINOError.invalid("two folders would become the part \"\(part.name)\"; --name makes one part of all")
      }
      return parts
    }
    guard let entry = SourceCatalogue.entry(source) else {
      throw MedDINOError.invalid("--source is \"\(source)\", expected \(SourceCatalogue.entries.map(\.name).joined(separator: ", "))")
    }
    if entry.certainty == .unknown, !common.quiet { note("note: \(entry.title): \(entry.description)") }
    return [
      content.applied(
        to: CurationSource(
          name: name ?? entry.name, title: entry.title, licence: entry.licence, reference: entry.reference, layout: entry.layout,
          folders: folders))
    ]
  }

  private func warn(_ reports: [CurationReport]) {
    if common.quiet { return }
    for report in reports where !report.unmatchedExclusions.isEmpty {
      let names = report.unmatchedExclusions
      let shown = names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
      note("warning: \(report.manifest.name) has no volume of these names to exclude: \(shown)")
    }
    guard let source, let entry = SourceCatalogue.entry(source), let published = entry.publishedVolumes, let report = reports.first else {
      return
    }
    let found = report.manifest.cases + report.manifest.excludedNames.count
    if found != published { note("note: \(found) volumes; \(entry.title) was published with \(published)") }
  }

  private func text(_ report: CurationReport) -> String {
    let (manifest, counts) = (report.manifest, report.manifest.slices)
    let megabytes = manifest.shards.reduce(0) { $0 + $1.bytes } >> 20
    let dropped = [
      ("empty", counts.empty), ("duplicate", counts.duplicate), ("thinned", counts.thinned), ("of images kept out", counts.excluded),
    ].filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
    let leftOut = manifest.leftOut > 0 ? ", \(manifest.leftOut) left out" : ""
    var lines = [
      "\(report.folder): \(counts.kept) slices of \(manifest.cases) volumes\(leftOut), \(manifest.shards.count) shards, \(megabytes) MB",
      "dropped: \(dropped.isEmpty ? "none" : dropped); licence: \(manifest.licence)",
    ]
    if report.seenSlices == 0, report.resumedSlices == counts.kept, counts.kept > 0 {
      lines.append("it was complete already")
    } else {
      lines.append(
        "\(report.seenSlices) slices in \(Terminal.duration(report.seconds)), "
          + "\(DecimalText.fixed(report.slicesPerSecond, digits: 1)) slices per second"
          + (report.resumedSlices > 0 ? "; \(report.resumedSlices) were there from an earlier run" : ""))
    }
    return lines.joined(separator: "\n")
  }
}
