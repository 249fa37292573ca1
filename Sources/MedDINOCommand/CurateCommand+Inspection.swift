import Datasets
import MedDINO
import Platform
import Slices
import WeightFiles

extension CurateCommand {
  func list() throws {
    guard paths.isEmpty else { throw MedDINOError.invalid("--list-sources takes no folders") }
    if json {
      let entries = SourceCatalogue.entries.map { entry in
        JSON.object(
          ("name", .string(entry.name)), ("title", .string(entry.title)), ("licence", .string(entry.licence)),
          ("reference", .string(entry.reference)), ("layout", .string(entry.description)),
          ("layout_certainty", .string(entry.certainty.rawValue)), ("images", .array(entry.layout.images.map(JSON.string))),
          ("published_volumes", entry.publishedVolumes.map(JSON.integer) ?? .null))
      }
      return print(JSON.object(("sources", .array(entries))).text(indent: 2))
    }
    for entry in SourceCatalogue.entries {
      let volumes = entry.publishedVolumes.map { "\($0) volumes" } ?? "volumes by release"
      print("\(entry.name): \(entry.title), \(volumes), licence \(entry.licence)")
      print("  \(entry.description)")
      print("  \(entry.reference)")
    }
  }

  func checkSet() throws {
    guard paths.count == 1 else { throw MedDINOError.invalid("--check got \(paths.count) folders, expected one set") }
    let context = try common.context()
    // Opened by skipping, so that one look names every fault and not only the first.
    let set = try SliceSet(paths[0], policy: .skip)
    let result = try set.check(pool: context.pool, control: Terminal.control(quiet: common.quiet))
    let speed = try set.readingSpeed()
    Terminal.finishProgress()
    if json { print(report(set, result, speed).text(indent: 2)) } else if !common.quiet { describe(set, result, speed) }
    guard !result.problems.isEmpty else { return }
    if !common.quiet { for problem in result.problems.prefix(50) { note("problem: \(problem.reason)") } }
    guard skipDamaged else {
      throw MedDINOError.format(
        "\(paths[0]): \(result.problems.count) problem\(result.problems.count == 1 ? "" : "s"), "
          + "first \(result.problems[0].reason)")
    }
  }

  private func describe(_ set: SliceSet, _ result: SliceCheck, _ speed: SliceReadingSpeed) {
    for part in set.parts {
      let manifest = part.manifest
      print("\(manifest.name): \(manifest.slices.kept) slices of \(manifest.cases) volumes, licence \(manifest.licence)")
    }
    let rate = DecimalText.fixed(result.slicesPerSecond, digits: 1)
    let megabytes = DecimalText.fixed(Double(result.bytes) / 1e6 / max(result.seconds, 1e-9), digits: 1)
    print(
      "\(set.count) slices checked in \(Terminal.duration(result.seconds)): \(rate) slices per second, \(megabytes) MB/s, "
        + "\(result.threads) thread\(result.threads == 1 ? "" : "s"), peak \(peakResidentBytes() >> 20) MB")
    print(
      "reading with one thread: \(DecimalText.fixed(speed.sequential, digits: 1)) slices per second in order, "
        + "\(DecimalText.fixed(speed.positional, digits: 1)) at random")
    if result.problems.isEmpty { print("no problems") }
  }

  private func report(_ set: SliceSet, _ result: SliceCheck, _ speed: SliceReadingSpeed) -> JSON {
    .object(
      (
        "parts",
        .array(
          set.parts.map { part in
            .object(
              ("name", .string(part.manifest.name)), ("licence", .string(part.manifest.licence)),
              ("cases", .integer(part.manifest.cases)), ("slices", part.manifest.slices.json))
          })
      ), ("slices", .integer(set.count)), ("bytes", .integer(result.bytes)), ("fingerprint", .string(set.fingerprint)),
      ("statistics", set.intensities.statistics().json),
      (
        "problems",
        .array(result.problems.map { .object(("place", .string($0.place)), ("reason", .string($0.reason))) })
      ), ("seconds", .number(result.seconds)), ("threads", .integer(result.threads)),
      ("slices_per_second", .number(result.slicesPerSecond)), ("read_in_order_per_second", .number(speed.sequential)),
      ("read_at_random_per_second", .number(speed.positional)), ("peak_bytes", .integer(peakResidentBytes())))
  }
}
