defmodule Slither.Examples.ImagePipeline do
  @moduledoc """
  200 raw frames to thumbnails, below a ceiling of memory.

  The frames are cut out of photographs that scikit-image ships, one after the other, as they are
  asked for. They cross to the workers in batches by their number of pixels, and no more bytes are
  out than are allowed. The thumbnails become a contact sheet.
  """

  @behaviour Slither.Examples.Example

  alias Slither.{Bytes, Telemetry}
  alias Slither.Dispatch.Strategies.WeightedBatch
  alias Slither.Examples.{Measure, Progress, Report}

  @pool :image_pipeline
  @reference :image_pipeline_reference

  # Pixels of three bytes; a frame has at most so many.
  @batch_pixels 2_000_000
  @in_flight 16 * 1_048_576
  @ceiling 450 * 1_048_576

  @sheets Path.expand("../../_build/examples", __DIR__)

  # ms; for the reference, which does all of the work in one process.
  @patience 300_000

  @impl true
  def title, do: "raw frames cut out of photographs, to thumbnails and a contact sheet"

  @impl true
  def shows do
    "a pool of threads takes in all that it is given, and memory grows with the input; here what " <>
      "is in flight is bounded in bytes, and memory stays below a ceiling however long the input is."
  end

  @impl true
  def size, do: {200, "frames"}

  @impl true
  def needs, do: ["Pillow", "scikit-image"]

  @impl true
  def memory_ceiling, do: @ceiling

  @impl true
  def why do
    "executor.map looks lazy, but takes in all frames before it gives out the first thumbnail: what " <>
      "waits are raw pixels. safe_python has a queue of a few places, process_pool keeps a window " <>
      "of futures; both bound how many frames are out, whatever their size. slither bounds their " <>
      "bytes, and fills batches by pixels. Its floor is higher: BEAM, Mix, and workers that share " <>
      "no pages with a parent. Pillow lets go of the GIL, so threads use all cores here, and need " <>
      "not send a frame anywhere."
  end

  @impl true
  def run(options) do
    pool = [size: options[:workers], python: options[:python], paths: [__DIR__]]
    pool = [preload: ["image_pipeline"]] ++ pool

    with {:ok, material} <- prepared(pool, options[:size]),
         {:ok, figures, {thumbnails, sheet, held}} <-
           Measure.run([{Slither.Python.Pool, [name: @pool] ++ pool}], [@pool], fn ->
             work(material)
           end) do
      {:ok, outcome(figures, material, thumbnails, write(sheet, options[:size]), held)}
    end
  end

  # The photographs, the boxes, and the thumbnails of one process. None of that is measured.
  defp prepared(pool, size) do
    pool = Keyword.merge(pool, name: @reference, size: 1)

    with {:ok, _figures, material} <-
           Measure.run([{Slither.Python.Pool, pool}], [@reference], fn ->
             ask(@reference, "load", size)
           end),
         do: {:ok, material}
  end

  defp ask(pool, function, payload) do
    options = [module: "image_pipeline", function: function, pool: pool, timeout: @patience]
    {:ok, [item]} = Slither.Dispatch.call_batch([payload], options)
    item.payload
  end

  defp work(%{"pictures" => pictures, "boxes" => boxes}) do
    progress = Progress.start("frames", length(boxes))
    held = :atomics.new(1, [])
    :ok = Telemetry.attach(held, [:slither, :dispatch, :batch, :stop], &__MODULE__.held/4, held)

    try do
      thumbnails = thumbnails(pictures, boxes, fn _item -> Progress.step(progress) end)
      {thumbnails, ask(@pool, "contact_sheet", thumbnails), :atomics.get(held, 1)}
    after
      Telemetry.detach(held)
      Progress.stop(progress)
    end
  end

  @doc false
  # Batches of a run end in one process: nothing comes between.
  def held(_event, %{held_bytes: bytes}, %{pool: @pool}, held),
    do: :atomics.put(held, 1, max(bytes, :atomics.get(held, 1)))

  def held(_event, _measurements, _metadata, _held), do: :ok

  # coordination: slither
  defp thumbnails(pictures, boxes, step) do
    boxes
    |> Stream.map(&frame(pictures, &1))
    |> Slither.Dispatch.stream(
      module: "image_pipeline",
      function: "thumbnail",
      pool: @pool,
      strategy: WeightedBatch,
      max_weight: @batch_pixels,
      weight_fn: &pixels(&1.payload),
      max_in_flight_bytes: @in_flight
    )
    |> Stream.each(step)
    |> Enum.map(& &1.payload)
  end

  # end of coordination

  defp frame(pictures, %{"photograph" => photograph, "width" => width, "height" => height} = box) do
    %{"width" => full, "pixels" => %Bytes{data: pixels}} = Enum.at(pictures, photograph)

    rows =
      for row <- box["top"]..(box["top"] + height - 1),
          do: binary_part(pixels, 3 * (row * full + box["left"]), 3 * width)

    data = IO.iodata_to_binary(rows)
    %{"width" => width, "height" => height, "pixels" => Bytes.new(data)}
  end

  defp pixels(%{"width" => width, "height" => height}), do: width * height

  defp write(%Bytes{data: png}, size) do
    File.mkdir_p!(@sheets)
    path = Path.join(@sheets, "contact_sheet_#{size}.png")
    File.write!(path, png)
    path
  end

  defp outcome(figures, material, thumbnails, path, held) do
    # One batch may go beyond.
    most = @in_flight + 3 * @batch_pixels

    %{
      figures: figures,
      invariants: [
        {"every frame has its thumbnail, in its order",
         length(thumbnails) == length(material["boxes"])},
        {"the thumbnails are those of one process, pixel for pixel",
         thumbnails == material["expected"]},
        {"no more than #{Report.bytes(most)} of frames are in flight", held in 1..most}
      ],
      parts: parts(material, thumbnails, path, held)
    }
  end

  defp parts(%{"boxes" => boxes, "names" => names}, thumbnails, path, held) do
    sizes = Enum.map(boxes, &pixels/1)
    photographs = Enum.group_by(Enum.zip(boxes, thumbnails), fn {box, _} -> box["photograph"] end)

    [
      {:table, "Frames by photograph", ["photograph", "frames", "megapixels", "mean sharpness"],
       for {number, cut} <- Enum.sort(photographs) do
         sharpness = for {_box, thumbnail} <- cut, do: thumbnail["sharpness"]
         pixels = for {box, _thumbnail} <- cut, do: pixels(box)

         [Enum.at(names, number), length(cut), mega(Enum.sum(pixels))] ++
           [Float.round(Enum.sum(sharpness) / length(cut), 1)]
       end},
      {:lines,
       [
         "Frames of #{mega(Enum.min(sizes))} to #{mega(Enum.max(sizes))} megapixels, " <>
           "#{Report.bytes(3 * Enum.sum(sizes))} in all; at most #{Report.bytes(held)} in flight.",
         "The contact sheet: #{Path.relative_to_cwd(path)}"
       ]}
    ]
  end

  defp mega(pixels), do: Float.round(pixels / 1_000_000, 1)
end
