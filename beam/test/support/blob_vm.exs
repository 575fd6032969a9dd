# A VM with a blob, which is killed: it tells its pid and the folder.
{:ok, _} = Application.ensure_all_started(:slither)
{:ok, _} = Slither.Blob.put("kept", owner: :node)
IO.puts("folder #{System.pid()} #{Slither.Blob.Server.folder()}")
Process.sleep(:infinity)
