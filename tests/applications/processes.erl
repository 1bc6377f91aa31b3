%% processes.erl LOG: Erlang: thousands of its processes, timers, a server on TCP with clients, a port.
-mode(compile).

main([Log]) ->
    {ok, File} = file:open(Log, [write]),
    {ok, Listen} = gen_tcp:listen(28701, [{ip, {127, 0, 0, 1}}, {active, false}, {reuseaddr, true}, {packet, line}]),
    spawn_link(fun() -> accept(Listen) end),
    {ok, Client} = gen_tcp:connect({127, 0, 0, 1}, 28701, [{active, false}, {packet, line}]),
    lists:foreach(fun(Step) -> step(File, Client, Step) end, lists:seq(1, 60)),
    Port = open_port({spawn, "sort -n"}, [exit_status, stream, use_stdio]),
    true = is_port(Port),
    port_close(Port),
    io:format(File, "~s", [os:cmd("echo a process")]),
    file:close(File).

step(File, Client, Step) ->
    Self = self(),
    [spawn(fun() -> timer:sleep(N rem 20), Self ! {N, N * Step} end) || N <- lists:seq(1, 1000)],
    Sum = lists:sum([receive {N, Value} -> Value end || N <- lists:seq(1, 1000)]),
    ok = gen_tcp:send(Client, io_lib:format("~p~n", [Sum])),
    {ok, Answer} = gen_tcp:recv(Client, 0),
    io:format(File, "step ~p ~s", [Step, Answer]),
    file:sync(File).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    serve(Socket).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Line} -> ok = gen_tcp:send(Socket, ["echo ", Line]), serve(Socket);
        {error, closed} -> ok
    end.
