defmodule Slither.Store.Journal.Frame do
  @moduledoc false
  # How a journal's files are laid out: `Disk` writes them, `Reader` reads them. Pure.
  #
  # A file begins with a magic word and a salt; records `<<size::32, crc::32, synced::64, term>>`
  # follow. The checksum covers the record and the salt, so that neither a record of another file,
  # nor bytes in a user's value that look like one, pass for a record of this file. `synced` says
  # up to which byte the file was known to be on disk when the record was written, which tells
  # damage from a torn write. If a record behind an unreadable place says that the place was on
  # disk, the file is damaged. If none does, that write was under way when the VM ended, and no
  # write after it was promised to be on disk.

  @magic "slither-store 2\n"
  @begin byte_size(@magic) + 4
  @head 16

  @type salt :: non_neg_integer

  @doc "The bytes a file begins with."
  @spec head(salt) :: binary
  def head(salt), do: <<@magic, salt::32>>

  @doc "How many bytes `head/1` is."
  @spec head_size() :: pos_integer
  def head_size, do: @begin

  @doc "What a file that begins so is; its beginning alone may have got to the disk."
  @spec kind(binary) :: {:log, salt} | :unborn | :other
  def kind(<<@magic, salt::32>>), do: {:log, salt}

  def kind(bytes) do
    size = min(byte_size(bytes), byte_size(@magic))

    cond do
      bytes == :binary.copy(<<0>>, byte_size(bytes)) ->
        :unborn

      byte_size(bytes) >= @begin ->
        :other

      binary_part(bytes, 0, size) == binary_part(@magic, 0, size) ->
        :unborn

      true ->
        :other
    end
  end

  @doc "A record of `payload`, for a file of which the first `synced` bytes are on disk."
  @spec record(salt, non_neg_integer, binary) :: iodata
  def record(salt, synced, payload) when byte_size(payload) < 0x1_0000_0000 do
    size = byte_size(payload)
    [<<size::32, crc(salt, size, synced, payload)::32, synced::64>>, payload]
  end

  @doc "How many bytes the record of a payload of `size` bytes takes."
  @spec size(non_neg_integer) :: pos_integer
  def size(size), do: @head + size

  @doc "The first record of `bytes`: `:more` where they end within it, for all one can tell."
  @spec next(binary, salt) :: {:record, binary, rest :: binary} | :more | :bad
  def next(<<size::32, crc::32, synced::64, payload::binary-size(size), rest::binary>>, salt) do
    if crc(salt, size, synced, payload) == crc, do: {:record, payload, rest}, else: :bad
  end

  def next(_bytes, _salt), do: :more

  @doc "Whether a record in `bytes`, which begin at byte `at` of a file, says `at` was on disk."
  @spec proves?(binary, non_neg_integer, salt) :: boolean
  def proves?(bytes, at, salt), do: proves?(bytes, at, at, salt)

  defp proves?(<<size::32, crc::32, synced::64, rest::binary>> = bytes, here, at, salt) do
    if size <= byte_size(rest) and synced > at and synced <= here and
         crc(salt, size, synced, binary_part(rest, 0, size)) == crc do
      true
    else
      <<_, next::binary>> = bytes
      proves?(next, here + 1, at, salt)
    end
  end

  defp proves?(_bytes, _here, _at, _salt), do: false

  defp crc(salt, size, synced, payload),
    do: :erlang.crc32(salt, [<<size::32, synced::64>>, payload])
end
