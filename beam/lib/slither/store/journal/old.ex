defmodule Slither.Store.Journal.Old do
  @moduledoc false
  # Reads what stores wrote before they had a format of their own, that of OTP's disk_log: eight
  # bytes, then `<<size::32, 98, 87, 76, 65, term>>`, with the size's MD5 before a term of 64 KB
  # and over. `Reader` calls it. Nothing writes the format any more: the first start writes a
  # snapshot in today's. Pure.

  @big 65_528

  @doc "The terms of a file's bytes, in order, and how many bytes at its end are no record."
  @spec terms(binary) :: {[term], torn :: non_neg_integer}
  def terms(<<_head::binary-8, rest::binary>>), do: records(rest, [])
  def terms(bytes), do: {[], byte_size(bytes)}

  defp records(<<size::32, 98, 87, 76, 65, rest::binary>> = bytes, done) do
    skip = if size >= @big and big?(rest, size), do: 16, else: 0

    case rest do
      <<_md5::binary-size(skip), term::binary-size(size), rest::binary>> ->
        add(term, rest, bytes, done)

      _torn ->
        {Enum.reverse(done), byte_size(bytes)}
    end
  end

  defp records(bytes, done), do: {Enum.reverse(done), byte_size(bytes)}

  defp big?(<<md5::binary-16, _::binary>>, size), do: md5 == :erlang.md5(<<size::32>>)
  defp big?(_torn, _size), do: false

  # The format has no checksums of small terms: a term that can't be read is the only sign of a torn
  # end.
  defp add(term, rest, bytes, done) do
    case decode(term) do
      {:ok, term} -> records(rest, [term | done])
      :error -> {Enum.reverse(done), byte_size(bytes)}
    end
  end

  defp decode(term) do
    {:ok, :erlang.binary_to_term(term)}
  rescue
    ArgumentError -> :error
  end
end
